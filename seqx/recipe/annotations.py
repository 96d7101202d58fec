"""Convert the annotation of a setting to the shape of its value: component, section, list, mapping, leaf."""

import collections.abc
import dataclasses
import types
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import PydanticSchemaGenerationError, TypeAdapter

from seqx.plugin.registry import MAKE, Registry


@dataclass(frozen=True)
class ComponentShape:
    """A component of an interface; `deferred` if the parent builds it itself (`Make`)."""

    interface: type
    deferred: bool


@dataclass(frozen=True)
class SectionShape:
    """A dataclass whose fields are settings."""

    cls: type


@dataclass(frozen=True)
class ListShape:
    """A list or tuple."""

    inner: "Shape"
    container: Callable[[Iterable[Any]], Any]


@dataclass(frozen=True)
class MapShape:
    """A mapping with string keys."""

    inner: "Shape"


@dataclass(frozen=True)
class LeafShape:
    """A value that pydantic validates, such as a number or a string."""

    annotation: Any


@dataclass(frozen=True)
class UnionShape:
    """A union. `leaf` combines all members that are not components, sections or collections of them."""

    choices: tuple["Shape", ...]
    leaf: LeafShape | None


Shape = ComponentShape | SectionShape | ListShape | MapShape | LeafShape | UnionShape

_LISTS: dict[Any, Callable[[Iterable[Any]], Any]] = {
    list: list,
    tuple: tuple,
    collections.abc.Sequence: list,
    collections.abc.Iterable: list,
    collections.abc.Collection: list,
}
_MAPPINGS = (dict, collections.abc.Mapping)


def shape(annotation: Any, registry: Registry) -> Shape:  # noqa: PLR0911  one for each shape
    """Return the shape of an annotation."""
    interface = _deferred_interface(annotation)
    if interface is not None:
        return ComponentShape(interface, deferred=True)
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        inner = shape(args[0], registry)
        return LeafShape(annotation) if isinstance(inner, LeafShape) else inner
    if origin in (Union, types.UnionType):
        return _union_shape(annotation, args, registry)
    if origin in _LISTS and args and (len(args) == 1 or args[1:] == (...,)):
        inner = shape(args[0], registry)
        return LeafShape(annotation) if isinstance(inner, LeafShape) else ListShape(inner, _LISTS[origin])
    if origin in _MAPPINGS and len(args) == len(("key", "value")):
        inner = shape(args[1], registry)
        return LeafShape(annotation) if isinstance(inner, LeafShape) else MapShape(inner)
    if isinstance(annotation, type) and origin is None:
        if annotation in registry.interfaces():
            return ComponentShape(annotation, deferred=False)
        if dataclasses.is_dataclass(annotation):
            return SectionShape(annotation)
        if not _has_adapter(annotation):
            return ComponentShape(annotation, deferred=False)  # an interface without registered components
    return LeafShape(annotation)


def _deferred_interface(annotation: Any) -> type | None:
    """Return the interface of `Make[interface]`, or None."""
    if get_origin(annotation) is Annotated and MAKE in getattr(annotation, "__metadata__", ()):
        result = get_args(get_args(annotation)[0])[-1]
        return typing.cast("type", get_origin(result) or result)
    return None


def _union_shape(annotation: Any, args: tuple[Any, ...], registry: Registry) -> Shape:
    shapes = [(arg, shape(arg, registry)) for arg in args]
    choices = tuple(member for _, member in shapes if not isinstance(member, LeafShape))
    if not choices:
        return LeafShape(annotation)
    leaves = tuple(arg for arg, member in shapes if isinstance(member, LeafShape))
    return UnionShape(choices, LeafShape(Union[leaves]) if leaves else None)  # noqa: UP007  a runtime value


def _has_adapter(cls: type) -> bool:
    try:
        adapter(cls)
    except PydanticSchemaGenerationError:
        return False
    return True


def adapter(annotation: Any) -> TypeAdapter[Any]:
    """Return the pydantic validator of a leaf."""
    try:
        return _cached_adapter(annotation)
    except TypeError:  # the annotation cannot be hashed
        return TypeAdapter(annotation)


@cache
def _cached_adapter(annotation: Any) -> TypeAdapter[Any]:
    return TypeAdapter(annotation)
