"""Runs display themselves in notebooks, whatever their state; texts are escaped."""

import shutil
from pathlib import Path

import pytest
import torch

import seqx
from seqx.inference.attention_maps import AttentionMap
from seqx_parsing import Leaf, Tree
from tests.plugins.runs.test_report import HOSTILE, Page, finished_run, run, unfinished

__all__ = ["finished_run", "run"]  # fixtures


def html_of(value: object) -> str:
    html = seqx.notebook_html(value)
    assert html is not None
    assert Page(html).elements
    return html


def test_finished_run_shows_its_scores_and_curves(run: Path) -> None:
    html = html_of(seqx.Record.read("run"))
    assert ">finished</span>" in html
    assert ">test</td>" in html
    assert html.count("<figure") == 2
    assert "run/report.html" in html


def test_unfinished_run_shows_the_last_validation(run: Path) -> None:
    html = html_of(seqx.Record.read(unfinished(run)))
    assert ">not finished</span>" in html
    assert ">dev</td>" in html


def test_run_without_metrics_is_shown(run: Path) -> None:
    (run / "metrics.jsonl").unlink()
    (run / "report.html").unlink()
    html = html_of(seqx.Record.read(run))
    assert "<figure" not in html
    assert "report.html" not in html


def test_run_with_damaged_metrics_shows_the_message(run: Path) -> None:
    (run / "metrics.jsonl").write_text('{"step": "<b>"}\n' * 3, encoding="utf-8")
    html = seqx.Record.read(run)._repr_html_()
    assert html is not None
    assert "metrics.jsonl: is not a file of metrics (3 lines, all damaged); restore the file" in html
    assert "<b>" not in html


def test_names_of_a_run_are_escaped(run: Path) -> None:
    folder = run.with_name("<b> & <script>")
    shutil.move(run, folder)
    html = html_of(seqx.Record.read(folder))
    assert "<script" not in html
    assert "&lt;b&gt; &amp; &lt;script&gt;" in html


def test_symbols_of_attention_are_escaped_and_long_sentences_shortened() -> None:
    tokens = [HOSTILE, *map(str, range(60))]
    weights = torch.full((1, 2, len(tokens), len(tokens)), 1 / len(tokens))
    maps = seqx.AttentionMaps(tokens, tokens, {"a": AttentionMap("target", "source", weights)})
    html = html_of(maps)
    assert "<script" not in html
    assert "Only the first tokens are shown." in html
    assert html.count("<td style=") == 40 * 40
    assert "No attention" in html_of(seqx.AttentionMaps(tokens, tokens, {}))


def test_words_of_a_tree_are_escaped() -> None:
    html = Tree("S", (Leaf("NN", HOSTILE),))._repr_html_()
    assert html is not None
    assert "<script" not in html


@pytest.mark.parametrize("value", [3, "text", None])
def test_other_values_have_no_view(value: object) -> None:
    assert seqx.notebook_html(value) is None


def test_texts_of_records_and_attention_are_short(run: Path) -> None:
    assert repr(seqx.Record.read(run)) == "<seqx.Record of run, finished>"
    assert repr(seqx.AttentionMaps(["a"], ["b", "c"], {})) == "<seqx.AttentionMaps: 0 maps, 1 by 2 symbols>"
