"""Format differences between settings in few lines."""

import json
from collections.abc import Iterator, Mapping, Sequence

Pair = Sequence[object]


def difference_lines(differences: Mapping[str, Pair]) -> Iterator[str]:
    """Yield a line for each difference (there, here); paths that differ in one step only share a line.

    For example, if `model.encoder.layers` and `model.decoder.layers` are both 6 there and 2 here, the line is
    `model.{decoder,encoder}.layers: 2 (6)`.
    """
    left = dict(differences)
    while left:
        path, pair = next(iter(left.items()))
        steps = path.split(".")
        sharing = [_sharing(steps, index, pair, left) for index in range(len(steps))]
        index = max(range(len(steps)), key=lambda i: len(sharing[i]))
        one = sharing[index]
        if len(one) > 1:
            steps[index] = f"{{{','.join(one)}}}"
        there, here = map(_plain, pair)
        yield f"{'.'.join(steps)}: {here} ({there})"
        for path in one.values():
            del left[path]


def _sharing(steps: Sequence[str], index: int, pair: Pair, left: Mapping[str, Pair]) -> dict[str, str]:
    """Return the paths with this pair that differ from `steps` at `index` only, by their step there."""
    found = {}
    for path, other in left.items():
        other_steps = path.split(".")
        if len(other_steps) == len(steps) and _same(other, pair):
            same = [i for i in range(len(steps)) if other_steps[i] != steps[i]]
            if same in ([], [index]):
                found[other_steps[index]] = path
    return found


def _same(one: Pair, other: Pair) -> bool:
    return [*map(_plain, one)] == [*map(_plain, other)]  # compare as JSON, because 0 == False in Python


def _plain(value: object) -> str:
    """Return the value as it is written in a recipe."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
