"""Print a checked recipe as YAML, with all defaults and the origin of each value."""

import functools
from collections.abc import Iterator, Mapping
from typing import Any

from seqx.errors import Location
from seqx.recipe.configured import NOT_EXPRESSIBLE, Collection, Configured, PlainValue, Value
from seqx.recipe.yaml_writer import dump

_STEP = "  "
_MAX_COLUMN = 60  # comments are aligned up to this column


def show(recipe: Configured[Any]) -> str:
    """Return the resolved recipe as YAML; a comment on each line gives the origin of the value."""
    rows = list(_mapping(_settings(recipe), ""))
    width = min(_MAX_COLUMN, max((len(line) for line, _ in rows), default=0))
    return "".join(f"{line:<{width}}  # {origin}\n" if origin else f"{line}\n" for line, origin in rows)


def _settings(configured: Configured[Any]) -> Mapping[str, Value]:
    settings = {
        name: item for name, item in configured.settings.items() if item.plain() is not NOT_EXPRESSIBLE
    }
    if configured.component is not None:
        type_leaf = PlainValue(configured.component.name, configured.component.name, configured.type_at)
        return {"type": type_leaf, **settings}
    return settings


@functools.lru_cache(maxsize=4096)
def _key(name: str) -> str:
    """Return a key as YAML, from a cache, because most keys occur repeatedly."""
    return dump(name, flow=True)


def _mapping(items: Mapping[str, Value], indent: str) -> Iterator[tuple[str, str]]:
    for key, item in items.items():
        yield from _entry(f"{indent}{_key(key)}:", item, indent)


def _entry(head: str, item: Value, indent: str) -> Iterator[tuple[str, str]]:
    inner = _mapping_of(item)
    if inner is not None:
        yield head, ""
        yield from _mapping(inner, indent + _STEP)
    elif isinstance(item, Collection) and item.items and not isinstance(item.items, Mapping):
        yield head, ""
        for element in item.items:
            yield from _item(element, indent + _STEP)
    else:
        yield f"{head} {dump(item.plain(), flow=True)}", _origin(item.at)


def _item(item: Value, indent: str) -> Iterator[tuple[str, str]]:
    inner = _mapping_of(item)
    if inner is None:
        yield from _entry(f"{indent}-", item, indent)
        return
    for i, (line, origin) in enumerate(_mapping(inner, indent + _STEP)):
        yield (f"{indent}- {line[len(indent) + 2 :]}" if i == 0 else line), origin


def _mapping_of(item: Value) -> Mapping[str, Value] | None:
    """Return the entries of a value that is written as a mapping on separate lines, or None."""
    if isinstance(item, Configured):
        settings = _settings(item)
        return None if not settings or (item.component is not None and len(settings) == 1) else settings
    return (
        item.items
        if isinstance(item, Collection) and isinstance(item.items, Mapping) and item.items
        else None
    )


def _origin(at: Location | None) -> str:
    return "default" if at is None else at.origin
