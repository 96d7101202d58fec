"""Series of numbers that need little memory, and sparklines of them."""

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean

MAX_POINTS = 512
"""The maximum number of points of a series."""

_LEVELS = "▁▂▃▄▅▆▇█"


class Series:
    """The points of a curve, evenly spaced; if there are too many, each pair is replaced by its mean."""

    def __init__(self) -> None:
        self.points: list[float] = []
        self._added: list[float] = []  # since the last point
        self._values_per_point = 1

    def add(self, value: float) -> None:
        """Add a value; infinities and NaN are left out."""
        if not math.isfinite(value):
            return
        self._added.append(value)
        if len(self._added) == self._values_per_point:
            self.points.append(fmean(self._added))
            self._added.clear()
        if len(self.points) == MAX_POINTS:
            self.points = [*map(fmean, zip(self.points[::2], self.points[1::2], strict=True))]
            self._values_per_point *= 2


def sparkline(points: Sequence[float], width: int) -> str:
    """Return a curve as a line of at most `width` characters, from the lowest point to the highest one."""
    count = min(width, len(points))
    edges = [round(i * len(points) / count) for i in range(count + 1)] if count > 0 else []
    means = [fmean(points[start:end]) for start, end in pairwise(edges)]
    if not means:
        return ""
    lowest, highest = min(means), max(means)
    scale = (len(_LEVELS) - 1) / (highest - lowest) if highest > lowest else 0.0
    return "".join(_LEVELS[round((mean - lowest) * scale)] for mean in means)
