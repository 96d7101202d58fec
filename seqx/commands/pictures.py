"""Pictures of attention: layers by heads, as maps of weights or as lines between tokens.

Letters in shapes: H heads, Q queries, K keys.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from seqx.errors import UserError

_ROW = 0.16  # inches a token
_FAINTEST = 0.02  # share of a query's weight below which no line is drawn


class Panel(NamedTuple):
    """One attention's weights, and what to call the tokens that look and that are looked at."""

    name: str
    weights: np.ndarray[Any, np.dtype[np.float32]]  # [H, Q, K]
    rows: Sequence[str]
    columns: Sequence[str]


def drawing() -> ModuleType:
    """What draws.

    Raises:
        UserError: it is not installed
    """
    try:
        import matplotlib as mpl  # noqa: PLC0415  takes its time, and is not installed for everybody
    except ImportError:
        raise UserError("pictures need matplotlib, which is not installed: pip install matplotlib") from None
    return mpl


def maps(panels: Sequence[Panel], file: Path) -> None:
    """One map of weights for each attention and head: a row looks, a column is looked at, dark is much."""

    def draw(axes: Any, panel: Panel, head: int) -> None:
        axes.imshow(panel.weights[head], cmap="Blues", vmin=0, vmax=1, aspect="auto")
        axes.set_xticks(range(len(panel.columns)), panel.columns, rotation=90)
        axes.set_yticks(range(len(panel.rows)), panel.rows)
        axes.tick_params(length=0, labelsize=6)

    _draw(panels, draw, file, width=lambda panel: len(panel.columns) * _ROW + 0.8)


def lines(panels: Sequence[Panel], file: Path) -> None:
    """Lines from what looks, on the left, to what is looked at: the paper's figures 3 to 5. Thick is much."""

    def draw(axes: Any, panel: Panel, head: int) -> None:
        from matplotlib.collections import LineCollection  # noqa: PLC0415

        weights = panel.weights[head]
        pairs = np.argwhere(weights >= _FAINTEST)
        shares = weights[tuple(pairs.T)]
        ends = [[(0.0, query), (1.0, key)] for query, key in pairs]
        axes.add_collection(LineCollection(ends, colors=f"C{head % 10}", alpha=shares, linewidths=2 * shares))
        for side, x, where in ((panel.rows, -0.04, "right"), (panel.columns, 1.04, "left")):
            for y, token in enumerate(side):
                axes.text(x, y, token, ha=where, va="center", fontsize=6)
        axes.set(xlim=(-0.9, 1.9), ylim=(max(weights.shape) - 0.5, -0.5))
        axes.set_axis_off()

    _draw(panels, draw, file, width=lambda _: 2.6)


def _draw(
    panels: Sequence[Panel],
    draw: Callable[[Any, Panel, int], None],
    file: Path,
    width: Callable[[Panel], float],
) -> None:
    """Layers from top to bottom, heads from left to right."""
    mpl = drawing()
    from matplotlib.figure import Figure  # noqa: PLC0415

    heads = max(panel.weights.shape[0] for panel in panels)
    places = max(max(panel.weights.shape[1:]) for panel in panels)
    size = (heads * max(map(width, panels)), len(panels) * (places * _ROW + 0.9))
    # Text stays text: a browser finds a font for any script; and equal weights make equal files.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "seqx", "text.parse_math": False}):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(len(panels), heads, squeeze=False)
        for row, panel in zip(axes, panels, strict=True):
            for head, panes in enumerate(row):
                if head < panel.weights.shape[0]:
                    panes.set_title(f"{panel.name}, head {head + 1}", fontsize=7)
                    draw(panes, panel, head)
                else:
                    panes.set_axis_off()
        figure.savefig(file, format="svg", metadata={"Date": None})
