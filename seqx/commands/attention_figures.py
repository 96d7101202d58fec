"""Draw attention weights for all layers and heads: as heat maps, or as lines between tokens.

Letters in shapes: H heads, Q queries, K keys.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from seqx.runtime.extras import import_extra

_INCHES_PER_TOKEN = 0.16
_MIN_WEIGHT = 0.02  # lines of smaller weights are not drawn


class Panel(NamedTuple):
    """The weights of one attention layer, with the tokens of its queries and keys."""

    name: str
    weights: np.ndarray[Any, np.dtype[np.float32]]  # [H, Q, K]
    queries: Sequence[str]
    keys: Sequence[str]


def import_matplotlib() -> ModuleType:
    """Import and return matplotlib.

    Raises:
        UserError: it is not installed
    """
    package: ModuleType = import_extra("matplotlib", "draw")
    return package


def draw_maps(panels: Sequence[Panel], file: Path) -> None:
    """Draw a heat map for each layer and head. Rows are queries, columns are keys; large weights are dark."""

    def draw(axes: Any, panel: Panel, head: int) -> None:
        axes.imshow(panel.weights[head], cmap="Blues", vmin=0, vmax=1, aspect="auto")
        axes.set_xticks(range(len(panel.keys)), panel.keys, rotation=90)
        axes.set_yticks(range(len(panel.queries)), panel.queries)
        axes.tick_params(length=0, labelsize=6)

    _draw(panels, draw, file, width=lambda panel: len(panel.keys) * _INCHES_PER_TOKEN + 0.8)


def draw_lines(panels: Sequence[Panel], file: Path) -> None:
    """Draw lines from the queries on the left to the keys on the right. Large weights have thick lines.

    The figures are like figures 3 to 5 of "Attention Is All You Need".
    """

    def draw(axes: Any, panel: Panel, head: int) -> None:
        from matplotlib.collections import LineCollection  # noqa: PLC0415

        weights = panel.weights[head]
        pairs = np.argwhere(weights >= _MIN_WEIGHT)
        alphas = weights[tuple(pairs.T)]
        ends = [[(0.0, query), (1.0, key)] for query, key in pairs]
        if ends:  # none if a head attends to many tokens equally
            lines = LineCollection(ends, colors=f"C{head % 10}", alpha=alphas, linewidths=2 * alphas)
            axes.add_collection(lines)
        for tokens, x, align in ((panel.queries, -0.04, "right"), (panel.keys, 1.04, "left")):
            for y, token in enumerate(tokens):
                axes.text(x, y, token, ha=align, va="center", fontsize=6)
        axes.set(xlim=(-0.9, 1.9), ylim=(max(weights.shape) - 0.5, -0.5))
        axes.set_axis_off()

    _draw(panels, draw, file, width=lambda _: 2.6)


def _draw(
    panels: Sequence[Panel],
    draw: Callable[[Any, Panel, int], None],
    file: Path,
    width: Callable[[Panel], float],
) -> None:
    """Draw a grid of panels: layers from top to bottom, heads from left to right."""
    mpl = import_matplotlib()
    from matplotlib.figure import Figure  # noqa: PLC0415

    heads = max(panel.weights.shape[0] for panel in panels)
    tokens = max(max(panel.weights.shape[1:]) for panel in panels)
    size = (heads * max(map(width, panels)), len(panels) * (tokens * _INCHES_PER_TOKEN + 0.9))
    # Text is not converted to paths: browsers have fonts for all scripts. The salt makes files reproducible.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "seqx", "text.parse_math": False}):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(len(panels), heads, squeeze=False)
        for row, panel in zip(axes, panels, strict=True):
            for head, cell in enumerate(row):
                if head < panel.weights.shape[0]:
                    cell.set_title(f"{panel.name}, head {head + 1}", fontsize=7)
                    draw(cell, panel, head)
                else:
                    cell.set_axis_off()
        figure.savefig(file, format="svg", metadata={"Date": None})
