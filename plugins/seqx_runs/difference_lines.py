"""Formatting of differences between settings, with several settings on one line if possible."""

import json
from collections.abc import Iterator, Mapping, Sequence

Pair = Sequence[object]


def difference_lines(differences: Mapping[str, Pair]) -> Iterator[str]:
    """Yield lines that list differences by their paths.

    Paths share a line if they have the same pair of values and differ in one component only. For example, if
    `model.encoder.layers` and `model.decoder.layers` are (6, 2), the line is
    `model.{decoder,encoder}.layers: 2 (6)`.

    Args:
        differences: for each path, the pair of the first run's value and the other run's value
    """
    remaining = dict(differences)
    while remaining:
        path, pair = next(iter(remaining.items()))
        components = path.split(".")
        groups = [_paths_differing_at(i, components, pair, remaining) for i in range(len(components))]
        index = max(range(len(components)), key=lambda i: len(groups[i]))
        paths = groups[index]
        if len(paths) > 1:
            components[index] = f"{{{','.join(paths)}}}"
        first, other = map(_as_written, pair)
        yield f"{'.'.join(components)}: {other} ({first})"
        for path in paths.values():
            del remaining[path]


def _paths_differing_at(
    index: int, components: Sequence[str], pair: Pair, remaining: Mapping[str, Pair]
) -> dict[str, str]:
    """Return the paths with the same pair that differ from `components` at `index` only, or not at all.

    The keys are their components at `index`.
    """
    found = {}
    for path, other_pair in remaining.items():
        other_components = path.split(".")
        if len(other_components) == len(components) and _are_equal(other_pair, pair):
            different = [i for i in range(len(components)) if other_components[i] != components[i]]
            if different in ([], [index]):
                found[other_components[index]] = path
    return found


def _are_equal(one: Pair, other: Pair) -> bool:
    """Return true if two pairs are equal as JSON; in Python, 0 == False."""
    return [*map(_as_written, one)] == [*map(_as_written, other)]


def _as_written(value: object) -> str:
    """Return the value as it is written in a recipe."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
