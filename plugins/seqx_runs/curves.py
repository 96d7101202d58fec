"""Line charts for HTML pages, as SVG with a table of their values.

`seqx_runs/templates/charts.html` draws a `LineChart`: `{{ line_chart(chart) }}`.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import seqx

Point = tuple[float, float]

WIDTH, HEIGHT = 440, 230
"""The size of a chart in CSS pixels, before the page scales it."""

LEFT, RIGHT, TOP, BOTTOM = 58, 14, 10, 34
"""The space around the area of the lines, for labels."""

MAX_POINTS = 300
"""The maximum number of points of a line. A line with more points keeps the extremes of each part."""

MAX_MARKERS = 60
"""The maximum number of points of a line that has a marker at each point."""

MAX_ROWS = 25
"""The maximum number of rows of the table behind a chart."""

COLORS = 8
"""The number of colours of lines in `page.css`; further lines repeat them with another dash pattern."""

_UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


@dataclass(frozen=True, kw_only=True)
class Series:
    """A line of a chart. Points that are not finite interrupt it."""

    name: str
    points: Sequence[Point]  # in the order of x


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A labelled position of an axis."""

    position: float  # in the coordinates of the SVG
    label: str


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line in the coordinates of the SVG."""

    name: str
    style: int  # the number of its colour, from 0
    dashed: bool
    paths: Sequence[str]  # the `points` of a polyline for each part between gaps
    markers: Sequence[tuple[float, float, str]]  # coordinates and text; empty if there are many points


@dataclass(frozen=True, kw_only=True)
class LineChart:
    """A chart of one or several lines over the same axes.

    Args:
        title: the caption
        x_label: the quantity on the horizontal axis, such as "update"
        y_label: the quantity on the vertical axis with its unit
        series: the lines; those without finite points are left out
        zero: true if the vertical axis begins at 0
    """

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    zero: bool = False

    @cached_property
    def drawn(self) -> Sequence[Series]:
        """The lines that have finite points."""
        return [each for each in self.series if any(map(_is_finite, each.points))]

    @property
    def is_empty(self) -> bool:
        """True if there is nothing to draw."""
        return not self.drawn

    @property
    def lines(self) -> list[Line]:
        """The lines in the coordinates of the SVG."""
        return [
            Line(
                name=each.name,
                style=number % COLORS,
                dashed=number >= COLORS,
                paths=[" ".join(self._place(point) for point in part) for part in _parts(_thin(each.points))],
                markers=self._markers(each),
            )
            for number, each in enumerate(self.drawn)
        ]

    @property
    def x_ticks(self) -> list[Tick]:
        """The ticks of the horizontal axis."""
        values = {x for x, _ in self._points}
        if len(values) == 1:
            return [Tick(position=self._x(x), label=f"{x:,.10g}") for x in values]
        ticks = _ticks(*self._x_range, whole=all(float(x).is_integer() for x in values))
        return [Tick(position=self._x(value), label=label) for value, label in ticks]

    @property
    def y_ticks(self) -> list[Tick]:
        """The ticks of the vertical axis."""
        return [Tick(position=self._y(value), label=label) for value, label in _ticks(*self._y_range)]

    @property
    def description(self) -> str:
        """A text for readers who do not see the chart: the first and the last value of each line."""
        lines = []
        for each in self.drawn:
            (first, start), *_, (last, end) = [*filter(_is_finite, each.points)] * 2
            lines.append(
                f"{each.name}: {seqx.format_number(start)} at {self.x_label} {first:,.10g}, "
                f"{seqx.format_number(end)} at {last:,.10g}"
            )
        return f"{self.title}. " + "; ".join(lines)

    @property
    def rows(self) -> list[list[str]]:
        """The rows of the table behind the chart: x, and the value of each line at x or "-"."""
        values = [dict(each.points) for each in self.drawn]
        positions = sorted({x for of_line in values for x in of_line})
        count = min(MAX_ROWS, len(positions))
        shown = sorted({round(i * (len(positions) - 1) / max(1, count - 1)) for i in range(count)})
        return [
            [f"{positions[i]:,.10g}", *(_cell(of_line.get(positions[i])) for of_line in values)]
            for i in shown
        ]

    @property
    def is_shortened(self) -> bool:
        """True if the table has fewer rows than the chart has positions."""
        return len({x for each in self.drawn for x, _ in each.points}) > MAX_ROWS

    @cached_property
    def _points(self) -> list[Point]:
        return [point for each in self.drawn for point in each.points if _is_finite(point)]

    @property
    def _x_range(self) -> tuple[float, float]:
        return _range([x for x, _ in self._points])

    @property
    def _y_range(self) -> tuple[float, float]:
        low, high = _range([y for _, y in self._points], margin=0.04)
        return (min(0.0, low), high) if self.zero else (low, high)

    def _x(self, value: float) -> float:
        low, high = self._x_range
        return round(LEFT + (WIDTH - LEFT - RIGHT) * (value - low) / (high - low), 1)

    def _y(self, value: float) -> float:
        low, high = self._y_range
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - low) / (high - low), 1)

    def _place(self, point: Point) -> str:
        return f"{self._x(point[0])},{self._y(point[1])}"

    def _markers(self, series: Series) -> list[tuple[float, float, str]]:
        finite = [*filter(_is_finite, series.points)]
        if len(finite) > MAX_MARKERS:
            return []
        return [
            (self._x(x), self._y(y), f"{series.name}, {self.x_label} {x:,.10g}: {seqx.format_number(y)}")
            for x, y in finite
        ]


def _is_finite(point: Point) -> bool:
    return math.isfinite(point[0]) and math.isfinite(point[1])


def _parts(points: Sequence[Point]) -> Iterator[list[Point]]:
    """Yield the parts of a line between points that are not finite."""
    part: list[Point] = []
    for point in points:
        if _is_finite(point):
            part.append(point)
        elif part:
            yield part
            part = []
    if part:
        yield part


def _thin(points: Sequence[Point]) -> Sequence[Point]:
    """Return at most about `MAX_POINTS` points: the lowest and the highest one of each part."""
    if len(points) <= MAX_POINTS:
        return points
    width = math.ceil(2 * len(points) / MAX_POINTS)
    kept: list[Point] = []
    for start in range(0, len(points), width):
        part = points[start : start + width]
        gaps = [point for point in part if not _is_finite(point)]
        finite = [point for point in part if _is_finite(point)]
        extremes = {min(finite, key=lambda p: p[1]), max(finite, key=lambda p: p[1])} if finite else set()
        kept += sorted([*extremes, *gaps[:1]], key=lambda point: point[0])
    return kept


def _range(values: Sequence[float], margin: float = 0.0) -> tuple[float, float]:
    """Return the limits of an axis; they are never equal."""
    low, high = min(values), max(values)
    if low == high:
        step = abs(low) / 10 or 1.0
        return low - step, high + step
    return low - margin * (high - low), high + margin * (high - low)


def _ticks(low: float, high: float, most: int = 5, *, whole: bool = False) -> list[tuple[float, str]]:
    """Return at most about `most` round values between two limits, with labels.

    Args:
        low: the lower limit
        high: the upper limit
        most: about the maximum number of values
        whole: true if the values are whole numbers
    """
    exact = (high - low) / most
    power = 10.0 ** math.floor(math.log10(exact))
    steps = [factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= exact * 0.999]
    step = next(step for step in steps if not whole or step.is_integer())
    first = math.ceil(low / step - 1e-9)
    values = [i * step for i in range(first, first + most + 3) if i * step <= high + 1e-9 * step]
    largest = max(abs(low), abs(high))
    unit, letter = next(
        (unit for unit in _UNITS if largest >= 10 * unit[0] and step >= unit[0] / 10), (1.0, "")
    )
    return [(value, _label(value / unit, step / unit) + letter * (value != 0)) for value in values]


def _label(value: float, step: float) -> str:
    """Return the label of a tick with as many decimals as the distance of the ticks needs."""
    if step < 1e-4:
        return f"{value:.3g}"
    decimals = max(0, -math.floor(math.log10(step)))
    decimals += not math.isclose(step * 10**decimals, round(step * 10**decimals))
    return f"{value:,.{decimals}f}"


def _cell(value: float | None) -> str:
    return "-" if value is None else seqx.format_number(value)
