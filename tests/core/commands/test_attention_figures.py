"""Figures of attention weights."""

from pathlib import Path

import numpy as np
import pytest

from seqx.commands import attention_figures
from seqx.commands.attention_figures import Panel, draw_lines


def test_figure_of_a_head_without_large_weights_has_no_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A head may attend to more than 50 tokens equally; the other head has one line."""
    monkeypatch.setattr(attention_figures, "_MIN_WEIGHT", 0.5)
    weights = np.full((2, 1, 3), 1 / 3, np.float32)
    weights[1] = np.eye(1, 3)
    draw_lines([Panel("layer", weights, ["query"], ["key"] * 3)], tmp_path / "lines.svg")
    text = (tmp_path / "lines.svg").read_text("utf-8")
    assert text.count('<g id="LineCollection_') == 1
    assert text.count(">key<") == 6
