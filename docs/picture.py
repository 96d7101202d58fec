"""docs/reference/components.svg: test BLEU of one Transformer with one part replaced at a time.

The scores come from benchmarks/results/compare_components.json, a record of
the sweep that `python -m benchmarks.compare_components` writes.
"""

import json
from pathlib import Path

RECORD = Path(__file__).parents[1] / "benchmarks" / "results" / "compare_components.json"

GROUPS = {
    "Transformer": ("base",),
    "encoder": ("encoder_lstm", "encoder_gru", "encoder_convolution"),
    "decoder": ("decoder_lstm", "decoder_gru", "decoder_input_feeding", "decoder_convolution"),
    "attention": ("additive", "multiplicative", "restricted", "linear", "grouped_query"),
    "positions": ("learned", "rotary", "alibi", "t5", "shaw", "combined"),
}
COLORS = ("#444444", "#4477aa", "#228833", "#ccaa33", "#aa3377")
LABELS, WIDTH, ROW = 190, 640, 18
LOWEST, HIGHEST = 80.0, 100.0
"""The axis does not start at 0, which the picture says."""

STYLE = "font-family:Helvetica,Arial,sans-serif;font-size:12px"


def picture() -> str:
    """Return the SVG."""
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    bleu = {run["run"]: run["scores"]["test"]["bleu"]["value"] for run in record["runs"]}
    parts = [_text(0, 14, "Test BLEU of a small Transformer with one part replaced (axis from 80 to 100)")]
    y = 26
    for (group, runs), color in zip(GROUPS.items(), COLORS, strict=True):
        for run in runs:
            label = group if run == "base" else f"{group}: {run.removeprefix(f'{group}_').replace('_', ' ')}"
            parts += _bar(y, label, bleu[run], color)
            y += ROW
        y += 4
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" height="{y}" '
        f'style="{STYLE};background:#ffffff">\n{body}\n</svg>\n'
    )


def _bar(y: int, label: str, value: float, color: str) -> list[str]:
    length = round((WIDTH - LABELS - 50) * (value - LOWEST) / (HIGHEST - LOWEST))
    return [
        _text(LABELS - 6, y + 12, label, anchor="end"),
        f'<rect x="{LABELS}" y="{y + 2}" width="{length}" height="{ROW - 5}" fill="{color}"/>',
        _text(LABELS + length + 5, y + 12, f"{value:.1f}"),
    ]


def _text(x: int, y: int, text: str, *, anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="#222222">{text}</text>'
