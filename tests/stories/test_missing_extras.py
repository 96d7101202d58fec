"""Commands and settings whose optional extra is missing."""

import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from seqx.cli import main
from seqx.runtime.extras import install_command
from tests.models import PARSING, write_model
from tests.stories.tiny import TINY

ROOT = Path(__file__).parents[2]
UNUSED = {"dev", "docs", "fuzz"}
"""The extras for developing seqx, which no command and no setting of a user needs."""

CORPORA = {
    "datasets": "{type: datasets, path: json, columns: [en, de]}",
    "parquet": "{type: table, columns: [en, de], train: [a.parquet], dev: [a.parquet], test: [a.parquet]}",
    "mtdata": "{type: mtdata, columns: [eng, deu], train: [Statmt-a-1-eng-deu], dev: [Statmt-b-1-eng-deu],"
    " test: [Statmt-c-1-eng-deu]}",
}
CASES = [
    ("tensorboard", "tensorboard", "run small.yaml callbacks=[tensorboard]"),
    ("draw", "matplotlib", "translate model --attention looks"),
    ("draw", "matplotlib", "parse parser --attention looks"),
    ("ctranslate2", "ctranslate2", "export model --to ctranslate2 --out new"),
    ("ctranslate2", "ctranslate2", "translate model --engine ctranslate2"),
    ("ctranslate2", "ctranslate2", "evaluate model --engine ctranslate2"),
    ("ctranslate2", "ctranslate2", "serve model --engine ctranslate2"),
    ("huggingface", "transformers", "export model --to huggingface --out new"),
    *(
        ("onnx", package, "export model --to onnx --out new")
        for package in ("onnx", "onnxruntime", "onnxscript")
    ),
    *(
        ("serve", package, "serve model")
        for package in ("babel", "prometheus_client", "python_multipart", "starlette", "uvicorn")
    ),
    ("datasets", "datasets", "run small.yaml task.corpus=datasets"),
    ("datasets", "pyarrow", "run small.yaml task.corpus=parquet"),
    ("mtdata", "mtdata", "run small.yaml task.corpus=mtdata"),
    ("sentences", "sentencex", "parse parser --sentences"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a translator, a parser, the recipe of the translator, and an empty table."""
    folder = tmp_path_factory.mktemp("extras")
    write_model(folder / "model")
    write_model(folder / "parser", text=PARSING)
    (folder / "small.yaml").write_text(TINY, encoding="utf-8")
    (folder / "a.parquet").touch()
    return folder


def block(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """Let imports of a package fail."""
    for name in [package, *(name for name in sys.modules if name.startswith(f"{package}."))]:
        monkeypatch.setitem(sys.modules, name, None)


def test_every_extra_has_a_case() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {extra for extra, *_ in CASES} == project["optional-dependencies"].keys() - UNUSED


@pytest.mark.parametrize(("extra", "package", "command"), CASES, ids=lambda part: part.replace(" ", "_"))
def test_missing_extra_is_named_in_one_message(
    folder: Path, monkeypatch: pytest.MonkeyPatch, extra: str, package: str, command: str
) -> None:
    monkeypatch.chdir(folder)
    block(monkeypatch, package)
    arguments = [
        f"task.corpus={CORPORA[word.removeprefix('task.corpus=')]}"
        if word.startswith("task.corpus=")
        else word
        for word in command.split()
    ]
    result = CliRunner().invoke(main, arguments, input="the dog sees a man .\n")
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    (message,) = [line for line in result.stderr.splitlines() if "install" in line]
    assert message.endswith(f"; install it in a checkout of seqx: {install_command(extra)}")
    assert package in message
    assert "Traceback" not in result.stderr
    assert not (folder / "new").exists()
