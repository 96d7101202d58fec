"""The texts that `seqx components` prints: interfaces, components and their settings."""

import textwrap
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from seqx.plugin.registry import Component, Registry, Setting, summary
from seqx.recipe.annotations import (
    ComponentShape,
    LeafShape,
    ListShape,
    MapShape,
    SectionShape,
    Shape,
    UnionShape,
    shape,
)
from seqx.recipe.yaml_writer import dump

Listing = dict[str, dict[str, Any]]
"""By interface: its `summary`, and its `components` by name, each with its `summary` and `text`."""


def listing(registry: Registry) -> Listing:
    """Return the texts about all components of a registry."""
    return {
        cls.__name__: {
            "summary": summary(cls),
            "components": {
                name: {"summary": component.summary, "text": _explain(component, registry)}
                for name, component in registry.components(cls).items()
            },
        }
        for cls in registry.interfaces()
    }


def _explain(component: Component, registry: Registry) -> str:
    lines = [component.summary, f"{component.where}, plugin {component.plugin}", ""]
    for setting in component.settings.values():
        lines.append(f"{setting.name}: {type_and_default(setting, registry)}")
        lines += textwrap.wrap(setting.help, 90, initial_indent="    ", subsequent_indent="    ")
    return "\n".join(lines if component.settings else [*lines, "It has no settings."])


def type_and_default(setting: Setting, registry: Registry) -> str:
    """Return the type and the default of a setting as text, such as `int > 0 (default 8)`."""
    end = ", required" if setting.required else f" (default {default_text(setting)})"
    return f"{type_text(setting, registry)}{end}"


def type_text(setting: Setting, registry: Registry) -> str:
    """Return the type of a setting as text, such as `int > 0`."""
    return _describe(shape(setting.annotation, registry))


def default_text(setting: Setting) -> str:
    """Return the default of a setting as text; the setting must have one."""
    default = setting.default
    plain = list(default) if isinstance(default, tuple) else default
    items = plain if isinstance(plain, list) else [plain]
    if all(item is None or isinstance(item, str | int | float | list | tuple) for item in items):
        return dump(plain, flow=True)
    return str(getattr(default, "__name__", repr(default)))


def _describe(setting_shape: Shape) -> str:
    match setting_shape:
        case ComponentShape():
            return setting_shape.interface.__name__
        case SectionShape():
            return f"section {setting_shape.cls.__name__}"
        case ListShape():
            return f"list of {_describe(setting_shape.inner)}"
        case MapShape():
            return f"mapping to {_describe(setting_shape.inner)}"
        case UnionShape():
            leaf = [setting_shape.leaf] if setting_shape.leaf else []
            return " or ".join(_describe(choice) for choice in [*setting_shape.choices, *leaf])
        case LeafShape():
            return _leaf(setting_shape.annotation)


_SIGNS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "multiple_of": "a multiple of"}


def _leaf(annotation: Any) -> str:
    if get_origin(annotation) is Annotated:
        base, *limits = get_args(annotation)
        constraints = [
            f" {sign} {getattr(limit, key)}"
            for limit in limits
            for key, sign in _SIGNS.items()
            if hasattr(limit, key)
        ]
        return _leaf(base) + " and".join(constraints)
    if get_origin(annotation) in (Union, UnionType):
        return " or ".join(_leaf(arg) for arg in get_args(annotation))
    if get_origin(annotation) is list:
        return f"list of {_leaf(*get_args(annotation))}"
    if get_origin(annotation) is Literal:
        return " or ".join(map(repr, get_args(annotation)))
    if annotation is type(None):
        return "null"
    is_class = isinstance(annotation, type) and get_origin(annotation) is None
    return annotation.__name__ if is_class else str(annotation).replace("typing.", "")
