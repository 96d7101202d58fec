"""Advice about the name of a setting that does not exist.

The class attribute `not_settings` of a component or a section maps names that users expect, but that are no
settings, to what they should do instead.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from seqx.errors import shortened
from seqx.plugin.whole_defaults import without_partials
from seqx.recipe.configured import Configured, Value
from seqx.recipe.suggestions import hint, nearest

_MAX_PATHS = 3  # that a message names


def advice(
    name: str,
    known: Iterable[str],
    *,
    path: str = "",
    inside: Mapping[str, Value] | None = None,
    maker: Callable[..., Any] | None = None,
) -> str:
    """Return the end of a message: what to write instead, the nearest known name, or all names.

    Args:
        name: the name that is not a setting
        known: the names of the settings
        path: the path of the component or the section
        inside: its values; settings of this name inside of them are suggested
        maker: its constructor
    """
    known = [*known]
    expected: Mapping[str, str] = getattr(without_partials(maker), "not_settings", {}) if maker else {}
    if name in expected:
        return f"; {expected[name]}"
    if paths := _nearest_paths(name, inside or {}, path):
        return f"; did you mean {' or '.join(repr(shortened(each)) for each in paths[:_MAX_PATHS])}?"
    near = nearest(name, [*known, *expected])
    return f"; {expected[near]}" if near is not None and near in expected else hint(name, known)


def _nearest_paths(name: str, values: Mapping[str, Value], path: str) -> list[str]:
    """Return the paths of the settings of this name inside of `values` that are the least deep."""
    found = [*_paths(name, values, path)]
    depth = min((each.count(".") for each in found), default=0)
    return [each for each in found if each.count(".") == depth]


def _paths(name: str, values: Mapping[str, Value], path: str) -> Iterator[str]:
    """Yield the paths of the settings of this name in components and sections that the recipe sets."""
    for key, value in values.items():
        here = f"{path}.{key}".removeprefix(".")
        if value.at is not None:
            if isinstance(value, Configured) and name in value.settings:
                yield f"{here}.{name}"
            yield from _paths(name, value.children(), here)
