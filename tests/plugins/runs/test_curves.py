"""Line charts of HTML pages."""

import math
import re
import xml.etree.ElementTree as ET

import pytest

from seqx_runs.curves import HEIGHT, MAX_POINTS, MAX_ROWS, WIDTH, LineChart, Series
from seqx_runs.pages import _environment


def chart_of(*series: Series, zero: bool = False) -> LineChart:
    return LineChart(title="Loss", x_label="update", y_label="nats", series=series, zero=zero)


def drawn(chart: LineChart) -> str:
    template = _environment().from_string("{% from 'charts.html' import line_chart %}{{ line_chart(chart) }}")
    return template.render(chart=chart)


def test_chart_places_lines_inside_its_area() -> None:
    chart = chart_of(Series(name="train", points=[(1, 6.0), (50, 2.0), (100, 1.5)]))
    (line,) = chart.lines
    places = [tuple(map(float, place.split(","))) for place in line.paths[0].split()]
    assert all(0 < x < WIDTH and 0 < y < HEIGHT for x, y in places)
    assert places[0][1] < places[1][1] < places[2][1]
    assert [tick.label for tick in chart.x_ticks] == ["20", "40", "60", "80", "100"]


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ((0, 0.0007), ["0.0000", "0.0002", "0.0004", "0.0006"]),
        ((0, 20_000), ["0", "5k", "10k", "15k", "20k"]),
        ((57, 57), ["57"]),
        ((0.5, 0.5), ["0.5"]),
        ((1, 2), ["1", "2"]),
        ((1, 11), ["2", "4", "6", "8", "10"]),
        ((100, 200), ["100", "120", "140", "160", "180", "200"]),
        ((-1e-6, 1e-6), ["-1e-06", "-5e-07", "0", "5e-07", "1e-06"]),
        ((0, 3e10), ["0", "10G", "20G", "30G"]),
    ],
)
def test_chart_labels_round_values_of_an_axis(values: tuple[float, float], labels: list[str]) -> None:
    chart = chart_of(Series(name="x", points=[(value, i) for i, value in enumerate(values)]))
    assert [tick.label for tick in chart.x_ticks] == labels


def test_chart_interrupts_a_line_at_values_that_are_not_finite() -> None:
    points = [(1, 2.0), (2, 3.0), (3, math.nan), (4, math.inf), (5, 1.0)]
    chart = chart_of(Series(name="train", points=points), Series(name="none", points=[(1, math.nan)]))
    (line,) = chart.lines
    assert len(line.paths) == 2
    assert [row[1] for row in chart.rows] == ["2", "3", "nan", "inf", "1"]
    assert chart_of(Series(name="none", points=[])).is_empty
    assert drawn(chart_of()).strip() == ""


def test_chart_of_many_points_keeps_their_extremes() -> None:
    points = [(i, 1.0 + (i == 7_777)) for i in range(10_000)]
    chart = chart_of(Series(name="train", points=points))
    (line,) = chart.lines
    (path,) = line.paths
    places = path.split()
    assert len(places) <= MAX_POINTS + 2
    assert len({place.split(",")[1] for place in places}) == 2
    assert len(chart.rows) == MAX_ROWS
    assert chart.is_shortened


def test_chart_escapes_names_and_has_a_table_of_its_values() -> None:
    names = ["</svg><script>alert(1)</script>", "\x00\x1b \u202eright to left"]
    chart = chart_of(*(Series(name=name, points=[(1, 2.0), (20, 0.5)]) for name in names))
    page = drawn(chart)
    assert "<script" not in page
    assert not re.search(r"[\x00-\x08\x1b]", page)
    root = ET.fromstring(f"<body>{page}</body>")
    assert [cell.text for cell in root.findall(".//td")] == ["1", "2", "2", "20", "0.5", "0.5"]
    (image,) = [each for each in root.iter("svg") if each.get("role") == "img"]
    assert "2 at update 1, 0.5 at 20" in image.attrib["aria-label"]
