"""`seqx score` computes a metric on two files."""

import gzip
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Annotated

import pytest
from annotated_types import Gt
from click.testing import CliRunner, Result

import seqx
from seqx.cli import main

Call = Callable[..., Result]


@dataclass(frozen=True, kw_only=True)
class Exact(seqx.Metric):
    """The share of correct lines.

    Args:
        scale: the score if all lines are correct
        lowercase: ignore case
        start: first character to compare
        stop: end of the characters to compare
    """

    scale: Annotated[float, Gt(0)] = 100.0
    lowercase: bool = False
    start: int = 0
    stop: int = 1000

    def __post_init__(self) -> None:
        if self.start >= self.stop:
            raise ValueError(f"start={self.start} is not before stop={self.stop}")

    def __call__(self, outputs: Sequence[str], references: Sequence[str]) -> Mapping[str, seqx.Score]:
        def compared(text: str) -> str:
            return (text.lower() if self.lowercase else text)[self.start : self.stop]

        correct = sum(compared(a) == compared(b) for a, b in zip(outputs, references, strict=True))
        wrong = sum(a != b for a, b in zip(outputs, references, strict=True))
        exact = self.scale * correct / len(outputs)
        return {
            "exact": seqx.Score(value=exact, signature=f"case:{self.lowercase}"),
            "errors": seqx.Score(value=-wrong, signature="ä"),
        }


class Verbose(Exact):
    """The same metric with its own report format."""

    def report(self, outputs: Sequence[str], references: Sequence[str]) -> str:
        return f"{len(outputs)} outputs\nand no end"


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Return a function that runs `seqx score` in a folder with two files, with the metrics above."""

    @seqx.hookimpl
    def seqx_register(registry: seqx.Registry) -> None:
        registry.add(seqx.Metric, exact=Exact, verbose=Verbose)

    module = ModuleType("exact_plugin")
    module.seqx_register = seqx_register  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "exact_plugin", module)
    entries = [EntryPoint("exact", "exact_plugin", "seqx")]
    monkeypatch.setattr("seqx.plugin.loading.entry_points", lambda group: entries if group == "seqx" else [])
    monkeypatch.chdir(tmp_path)
    Path("gold").write_text("One\ntwo\n\nthree\n")
    Path("test").write_text("one\ntwo\n\nfour\n")

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["score", *arguments])

    return run


def test_score_prints_a_line_for_each_score(call: Call) -> None:
    result = call("--metric", "exact", "gold", "test")
    assert result.exit_code == 0, result.output
    assert result.stdout == "exact 50.00  case:False\nerrors -2.00  ä\n"


def test_score_takes_settings_of_the_metric(call: Call) -> None:
    result = call("lowercase=true", "gold", "test", "scale=1e1", "--metric=exact")
    assert result.stdout == "exact 7.50  case:True\nerrors -2.00  ä\n"


def test_score_takes_a_metric_as_in_a_recipe(call: Call) -> None:
    result = call("--metric", "{type: exact, lowercase: true, scale: 1}", "scale=10", "gold", "test")
    assert result.stdout == "exact 7.50  case:True\nerrors -2.00  ä\n"


def test_score_files_may_have_an_equals_sign(call: Call) -> None:
    Path("beam=4").write_bytes(Path("test").read_bytes())
    assert call("--metric", "exact", "gold", "beam=4").stdout.startswith("exact 50.00")


def test_score_reads_compressed_files(call: Call) -> None:
    Path("gold.gz").write_bytes(gzip.compress(Path("gold").read_bytes()))
    assert call("--metric", "exact", "gold.gz", "test").stdout.startswith("exact 50.00")


def test_score_prints_json(call: Call) -> None:
    result = call("--metric", "verbose", "--json", "gold", "test")
    assert json.loads(result.stdout) == {
        "exact": {"value": 50.0, "signature": "case:False"},
        "errors": {"value": -2, "signature": "ä"},
    }


def test_metric_may_define_its_report(call: Call) -> None:
    assert call("--metric", "verbose", "gold", "test").stdout == "4 outputs\nand no end"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "--metric exakt gold test",
            ("--metric exakt: no Metric is called 'exakt'; did you mean 'exact'?\n"),
        ),
        (
            "--metric {type:exact gold test",
            (
                "--metric {type:exact: not valid YAML: expected ',' or '}', but got '<stream end>'\n"
                "    --metric {type:exact\n                        ^\n"
            ),
        ),
        (
            "--metric exact lowercas=true scale=-1 gold test",
            (
                "scale=-1: metric.scale: Input should be greater than 0, found -1\n"
                "lowercas=true: metric: exact has no setting 'lowercas'; did you mean 'lowercase'?\n"
            ),
        ),
        (
            "--metric exact start=3 stop=2 gold test",
            "start=3: metric: start=3 is not before stop=2\n",
        ),
        ("--metric exact gold nothing", "nothing: cannot be read (No such file or directory)\n"),
        (
            "--metric exact gold short",
            "gold has 4 lines and short has 1; each reference needs one output\n",
        ),
        (
            "--metric exact empty empty",
            "empty has 0 lines and empty has 0; each reference needs one output\n",
        ),
    ],
)
def test_score_errors_are_one_message(call: Call, arguments: str, message: str) -> None:
    Path("short").write_text("One\n")
    Path("empty").write_text("")
    result = call(*arguments.split())
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", message)


@pytest.mark.parametrize("files", ["", "gold"])
def test_score_needs_two_files(call: Call, files: str) -> None:
    result = call("--metric", "exact", "stop=2", *files.split())
    assert result.exit_code == 2
    assert f"expected two files, REFERENCES and OUTPUTS, but got {len(files.split())}" in result.stderr


def test_score_prints_the_scores_of_each_line(call: Call) -> None:
    result = call("--metric", "exact", "--sentences", "gold", "test")
    assert result.stdout == "exact\terrors\n0.00\t-1.00\n100.00\t0.00\n100.00\t0.00\n0.00\t-1.00\n"
    rows = call("--metric", "exact", "--sentences", "--json", "gold", "test").stdout.splitlines()
    assert [json.loads(row)["errors"] for row in rows] == [-1, 0, 0, -1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("gold test", "name either --metric or --model"),
        ("--metric exact --model m gold test", "name either --metric or --model"),
        ("--metric exact --tokens gold test", "--tokens is for --model"),
        ("--model m --sentences gold test", "--sentences and --source are for --metric"),
        ("--model m", "expected SOURCE and TARGET, or TARGET alone, but got 0 files"),
    ],
)
def test_score_refuses_options_that_do_not_fit(call: Call, arguments: str, message: str) -> None:
    result = call(*(arguments if "gold" in arguments else f"{arguments} beam.size=1").split())
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_score_compares_with_several_references_if_the_metric_can(call: Call) -> None:
    Path("other").write_text("one\ntwo\nthree\nfour\n")
    result = call("--metric", "exact", "other", "other", "test")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        "Exact compares an output with one reference, not 2; name one list of references, or another metric, "
        "such as bleu, chrf or ter\n"
    )
