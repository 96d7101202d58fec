"""The cells of `examples/notebook.ipynb` run in order, and their results display themselves."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest

import seqx as api
from tests.docs.command_server import shorten_python_runs
from tests.docs.listings import ROOT
from tests.plugins.runs.test_report import Page
from tests.stories.tiny import tiny

NOTEBOOK = ROOT / "examples/notebook.ipynb"


def execute(source: str, names: dict[str, Any]) -> Any:
    """Execute a cell, and return the value of its last line, which a notebook displays."""
    tree = ast.parse(source)
    last = tree.body[-1]
    if not isinstance(last, ast.Expr):
        exec(source, names)
        return None
    exec(compile(ast.Module(tree.body[:-1], []), "cell", "exec"), names)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names)


@pytest.fixture(scope="module")
def displayed(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> list[str]:
    """Execute the notebook, and return what each code cell displays: HTML, or a text."""
    cells = [
        cell
        for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
        if cell["cell_type"] == "code"
    ]
    found, names = [], dict[str, Any]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQX_CACHE", str(cache))
        patch.chdir(tmp_path_factory.mktemp("notebook"))
        patch.setattr(api, "run", shorten_python_runs(api.run))
        for cell in cells:
            try:
                value = execute("".join(cell["source"]), names)
            except api.UserError as error:
                assert "raises-exception" in cell["metadata"]["tags"]
                found.append("\n".join(error._render_traceback_()))
            else:
                found.append(value._repr_html_() if hasattr(value, "_repr_html_") else repr(value))
    return found


def test_example_notebook_is_stored_without_outputs() -> None:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert not [cell for cell in notebook["cells"] if cell.get("outputs")]


def test_training_in_the_example_notebook_takes_five_lines() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    training, answers = [cell["source"] for cell in cells if cell["cell_type"] == "code"][:2]
    assert "seqx.run(" in "".join(training)
    assert len([line for line in [*training, *answers] if line.strip()]) <= 5


def test_example_notebook_displays_runs_models_trees_and_attention(displayed: list[str]) -> None:
    run, answers, model, attention, tree, again, error = displayed
    assert ">finished</span>" in run
    assert "<polyline" in run
    assert run == again
    assert len(ast.literal_eval(answers)) == 2
    assert "EncoderDecoder" in model
    assert ">parameters</dt>" in model
    assert "&lt;/s&gt;" in attention
    assert tree.count("<text") == 9
    assert error.startswith(
        "training.stepz=100: training: this section has no setting 'stepz'; did you mean 'steps'?"
    )


def test_views_are_small_balanced_and_load_nothing(displayed: list[str]) -> None:
    for html in displayed:
        if html.startswith("<div"):
            assert len(html) < 60_000
            elements = Page(html).elements
            assert {"script", "link", "img", "iframe"}.isdisjoint(tag for tag, _ in elements)
            assert not [name for _, attributes in elements for name in attributes if name in ("src", "href")]
            assert "url(" not in html
            assert "@import" not in html


def test_views_style_only_themselves_and_follow_the_theme(displayed: list[str]) -> None:
    """All rules are inside of the rule of the view, whose text has the colour of the notebook."""
    style = displayed[0].partition("<style>")[2].partition("</style>")[0]
    assert style.startswith(".seqx-view {")
    depth, closed = 0, []
    for position, character in enumerate(style.rstrip()):
        depth += (character == "{") - (character == "}")
        closed += [position] if depth == 0 and character == "}" else []
    assert closed == [len(style.rstrip()) - 1]
    assert "--text: currentColor" in style
    assert "prefers-color-scheme" not in style


def test_second_execution_of_a_notebook_reads_the_finished_run(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SEQX_CACHE", str(cache))
    monkeypatch.chdir(tmp_path)
    first = api.run(tiny(), "training.steps=2")
    assert "finished" not in capsys.readouterr().err
    monkeypatch.setattr("seqx.training.trainer.Trainer.train", lambda _: pytest.fail("it trains again"))
    second = api.run(tiny(), "training.steps=2")
    folder = tmp_path / "runs/tiny"
    assert f"{folder}: this run is finished, so it is read and not trained again\n" in capsys.readouterr().err
    assert (second.folder, second.scores) == (first.folder, first.scores)
    assert [*(tmp_path / "runs").iterdir()] == [folder]
