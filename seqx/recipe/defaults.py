"""Convert defaults to values of a recipe, so that the resolved recipe can be printed and read again."""

import dataclasses
import functools
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import PydanticSerializationError

from seqx.errors import Location
from seqx.plugin.registry import Component, Registry, section_settings
from seqx.plugin.whole_defaults import with_floats
from seqx.recipe.annotations import (
    ComponentShape,
    LeafShape,
    ListShape,
    MapShape,
    SectionShape,
    Shape,
    UnionShape,
    adapter,
    shape,
)
from seqx.recipe.configured import NOT_EXPRESSIBLE, Collection, Configured, PlainValue, Value


@dataclass(frozen=True)
class Defaults:
    """Converts the defaults of constructors."""

    registry: Registry

    def value(  # noqa: PLR0911  one for each shape
        self, default: Any, wanted: Shape, parent: Location, path: str
    ) -> Value:
        """Return a default as a value of the shape `wanted`; `parent` is the location of its parent."""
        match wanted:
            case ComponentShape() if callable(default):
                return self._component(default, wanted, parent, path)
            case SectionShape() if isinstance(default, wanted.cls):
                settings = {
                    name: self.value(
                        with_floats(getattr(default, name), s.annotation),
                        shape(s.annotation, self.registry),
                        parent,
                        f"{path}.{name}",
                    )
                    for name, s in section_settings(wanted.cls).items()
                }
                return Configured(wanted.cls, None, settings, None, parent, path)
            case ListShape() if isinstance(default, list | tuple):
                items = [
                    self.value(item, wanted.inner, parent, f"{path}.{i}") for i, item in enumerate(default)
                ]
                return Collection(items, wanted.container, None)
            case MapShape() if isinstance(default, Mapping):
                table = {
                    k: self.value(item, wanted.inner, parent, f"{path}.{k}") for k, item in default.items()
                }
                return Collection(table, dict, None)
            case UnionShape():
                return self._union(default, wanted, parent, path)
            case LeafShape():
                return _leaf(default, wanted)
        return PlainValue(default, NOT_EXPRESSIBLE, None)

    def _union(self, default: Any, wanted: UnionShape, parent: Location, path: str) -> Value:
        if wanted.leaf is not None and (default is None or isinstance(default, str | int | float)):
            return _leaf(default, wanted.leaf)
        for choice in wanted.choices:
            value = self.value(default, choice, parent, path)
            if value.plain() is not NOT_EXPRESSIBLE:
                return value
        return (
            PlainValue(default, NOT_EXPRESSIBLE, None) if wanted.leaf is None else _leaf(default, wanted.leaf)
        )

    def _component(self, default: Any, wanted: ComponentShape, parent: Location, path: str) -> Value:
        """Return a default that is a class or a partial of one, under its registered name."""
        maker, keywords = default, {}
        if isinstance(default, functools.partial) and not default.args:
            maker, keywords = default.func, default.keywords
        known = self.registry.components(wanted.interface).values()
        component = next((c for c in known if c.maker is maker), None)
        if component is None or not set(keywords) <= set(component.settings):
            return PlainValue(default, NOT_EXPRESSIBLE, None)
        return self._configured(component, keywords, wanted, parent, path)

    def _configured(
        self,
        component: Component,
        keywords: Mapping[str, Any],
        wanted: ComponentShape,
        parent: Location,
        path: str,
    ) -> Value:
        settings = {
            name: self.value(
                keywords.get(name, s.default), shape(s.annotation, self.registry), parent, f"{path}.{name}"
            )
            for name, s in component.settings.items()
            if name in keywords or s.default is not inspect.Parameter.empty
        }
        return Configured(component.maker, component, settings, None, parent, path, deferred=wanted.deferred)


def _leaf(default: Any, wanted: LeafShape) -> Value:
    if dataclasses.is_dataclass(default):
        return PlainValue(default, NOT_EXPRESSIBLE, None)
    try:
        written = adapter(wanted.annotation).dump_python(default, mode="json", warnings=False)
    except PydanticSerializationError:
        return PlainValue(default, NOT_EXPRESSIBLE, None)
    return PlainValue(default, written, None)
