"""Format differences between settings in few lines."""

import json
from collections.abc import Iterator, Mapping, Sequence

Pair = Sequence[object]


def difference_lines(differences: Mapping[str, Pair]) -> Iterator[str]:
    """Yield the differences, which are pairs of the first run's value and the other run's.

    Paths share a line if they have the same pair and differ in one component only. For example, if
    `model.encoder.layers` and `model.decoder.layers` are (6, 2), the line is
    `model.{decoder,encoder}.layers: 2 (6)`.
    """
    remaining = dict(differences)
    while remaining:
        path, pair = next(iter(remaining.items()))
        components = path.split(".")
        sharing = [_sharing(components, index, pair, remaining) for index in range(len(components))]
        index = max(range(len(components)), key=lambda i: len(sharing[i]))
        paths = sharing[index]
        if len(paths) > 1:
            components[index] = f"{{{','.join(paths)}}}"
        first, other = map(_as_written, pair)
        yield f"{'.'.join(components)}: {other} ({first})"
        for path in paths.values():
            del remaining[path]


def _sharing(
    components: Sequence[str], index: int, pair: Pair, remaining: Mapping[str, Pair]
) -> dict[str, str]:
    """Return the paths with this pair that only differ at `index`, by their component at `index`."""
    found = {}
    for path, other in remaining.items():
        other_components = path.split(".")
        if len(other_components) == len(components) and _same(other, pair):
            different = [i for i in range(len(components)) if other_components[i] != components[i]]
            if different in ([], [index]):
                found[other_components[index]] = path
    return found


def _same(one: Pair, other: Pair) -> bool:
    # Compare the values as JSON, because 0 == False in Python.
    return [*map(_as_written, one)] == [*map(_as_written, other)]


def _as_written(value: object) -> str:
    """Return the value as it is written in a recipe."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
