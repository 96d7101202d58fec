"""What a setting's annotation asks for: a component, a section, several of them, or a leaf."""

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
class Part:
    """A component of a kind; `later` when it is configured but not built."""

    kind: type
    later: bool


@dataclass(frozen=True)
class Section:
    """A dataclass whose fields are settings."""

    cls: type


@dataclass(frozen=True)
class Items:
    """A list or tuple of one sort of thing."""

    inner: "Shape"
    container: Callable[[Iterable[Any]], Any]


@dataclass(frozen=True)
class Table:
    """A mapping from words to one sort of thing."""

    inner: "Shape"


@dataclass(frozen=True)
class Plain:
    """A leaf: whatever pydantic reads."""

    annotation: Any


@dataclass(frozen=True)
class Either:
    """One of several; `leaf` is all that is no component, as one annotation, None among it."""

    choices: tuple["Shape", ...]
    leaf: Plain | None


Shape = Part | Section | Items | Table | Plain | Either

_LISTS: dict[Any, Callable[[Iterable[Any]], Any]] = {
    list: list,
    tuple: tuple,
    collections.abc.Sequence: list,
    collections.abc.Iterable: list,
    collections.abc.Collection: list,
}
_TABLES = (dict, collections.abc.Mapping)


def shape(annotation: Any, registry: Registry) -> Shape:  # noqa: PLR0911  one for each shape
    """What `annotation` asks for, given the kinds in `registry`."""
    made = _made(annotation)
    if made is not None:
        return Part(made, later=True)
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        inner = shape(args[0], registry)
        return Plain(annotation) if isinstance(inner, Plain) else inner
    if origin in (Union, types.UnionType):
        return _either(annotation, args, registry)
    if origin in _LISTS and args and (len(args) == 1 or args[1:] == (...,)):
        inner = shape(args[0], registry)
        return Plain(annotation) if isinstance(inner, Plain) else Items(inner, _LISTS[origin])
    if origin in _TABLES and len(args) == len(("key", "value")):
        inner = shape(args[1], registry)
        return Plain(annotation) if isinstance(inner, Plain) else Table(inner)
    if isinstance(annotation, type) and origin is None:
        if annotation in registry.kinds():
            return Part(annotation, later=False)
        if dataclasses.is_dataclass(annotation):
            return Section(annotation)
        if not _readable(annotation):
            return Part(annotation, later=False)  # an interface for which no plugin is here
    return Plain(annotation)


def _made(annotation: Any) -> type | None:
    """The kind in `Make[kind]`."""
    if get_origin(annotation) is Annotated and MAKE in getattr(annotation, "__metadata__", ()):
        result = get_args(get_args(annotation)[0])[-1]
        return typing.cast("type", get_origin(result) or result)
    return None


def _either(annotation: Any, args: tuple[Any, ...], registry: Registry) -> Shape:
    shapes = [(arg, shape(arg, registry)) for arg in args]
    choices = tuple(found for _, found in shapes if not isinstance(found, Plain))
    if not choices:
        return Plain(annotation)
    leaves = tuple(arg for arg, found in shapes if isinstance(found, Plain))
    return Either(choices, Plain(Union[leaves]) if leaves else None)  # noqa: UP007  known at run time only


def _readable(cls: type) -> bool:
    try:
        adapter(cls)
    except PydanticSchemaGenerationError:
        return False
    return True


def adapter(annotation: Any) -> TypeAdapter[Any]:
    """Pydantic's reader of a leaf."""
    try:
        return _kept(annotation)
    except TypeError:  # an annotation that cannot be hashed
        return TypeAdapter(annotation)


@cache
def _kept(annotation: Any) -> TypeAdapter[Any]:
    return TypeAdapter(annotation)
