"""A checked recipe as YAML, everything filled in, each line saying where its value came from."""

from collections.abc import Iterator, Mapping
from typing import Any

from seqx.errors import Location
from seqx.recipe import yaml_tree
from seqx.recipe.configured import NOT_EXPRESSIBLE, Collection, Configured, Leaf, Value

_STEP = "  "
_WIDEST = 60  # column behind which a comment no longer lines up


def show(made: Configured[Any]) -> str:
    """The recipe as text that is itself a recipe; a comment on each line says where its value came from."""
    rows = list(_mapping(_said(made), ""))
    width = min(_WIDEST, max((len(line) for line, _ in rows), default=0))
    return "".join(f"{line:<{width}}  # {origin}\n" if origin else f"{line}\n" for line, origin in rows)


def _said(made: Configured[Any]) -> Mapping[str, Value]:
    said = {name: item for name, item in made.settings.items() if item.plain() is not NOT_EXPRESSIBLE}
    if made.component is not None:
        named = Leaf(made.component.name, made.component.name, made.named)
        return {"type": named, **said}
    return said


def _mapping(items: Mapping[str, Value], indent: str) -> Iterator[tuple[str, str]]:
    for key, item in items.items():
        yield from _entry(f"{indent}{yaml_tree.dump(key, flow=True)}:", item, indent)


def _entry(head: str, item: Value, indent: str) -> Iterator[tuple[str, str]]:
    inner = _mapping_of(item)
    if inner is not None:
        yield head, ""
        yield from _mapping(inner, indent + _STEP)
    elif isinstance(item, Collection) and item.items and not isinstance(item.items, Mapping):
        yield head, ""
        for one in item.items:
            yield from _item(one, indent + _STEP)
    else:
        yield f"{head} {yaml_tree.dump(item.plain(), flow=True)}", _origin(item.at)


def _item(item: Value, indent: str) -> Iterator[tuple[str, str]]:
    inner = _mapping_of(item)
    if inner is None:
        yield from _entry(f"{indent}-", item, indent)
        return
    for i, (line, origin) in enumerate(_mapping(inner, indent + _STEP)):
        yield (f"{indent}- {line[len(indent) + 2 :]}" if i == 0 else line), origin


def _mapping_of(item: Value) -> Mapping[str, Value] | None:
    """The entries of what is written as a mapping on lines of its own."""
    if isinstance(item, Configured):
        said = _said(item)
        return None if not said or (item.component is not None and len(said) == 1) else said
    return (
        item.items
        if isinstance(item, Collection) and isinstance(item.items, Mapping) and item.items
        else None
    )


def _origin(at: Location | None) -> str:
    return "default" if at is None else at.origin
