"""Benchmarks that compare runs or layers, with inputs so small that their numbers mean nothing."""

import gzip
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path

import pytest
import torch

import seqx
from benchmarks import compare_architectures, compare_components, complexity, table3
from benchmarks.background import Job, work
from seqx.errors import Location
from seqx.plugin.loading import load_plugins
from seqx.recipe import included_recipes
from tests import forked
from tests.plugins.runs.test_compare import table

ROOT = Path(__file__).parents[1]
TINY = [
    *("training.tokens=200", "training.save_every=1", "training.average=1", "task.tokenizer.size=400"),
    *("search={type: greedy, ratio: 0, extra: 1}", "model.d_model=16"),
]
SAMPLE = ["task.corpus.train=300", "task.corpus.dev=4", "task.corpus.test=4"]

RECURRENT = '''
import seqx
from torch import nn


class Recurrent(seqx.Encoder):
    """An LSTM.

    Args:
        layers: number of layers
    """

    def __init__(self, d_model: int, *, layers: int = 9) -> None:
        super().__init__(d_model)
        self.lstm = nn.LSTM(d_model, d_model, layers, batch_first=True)

    def forward(self, inputs, layout):
        return self.lstm(inputs)[0]


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    registry.add(seqx.Encoder, later=Recurrent)
'''


def run(module: str, *arguments: str | Path, code: int = 0) -> str:
    """Return the output of a benchmark that ends with this exit code."""
    result = forked.run(sys.executable, "-m", f"benchmarks.{module}", *arguments, cwd=ROOT)
    assert result.returncode == code, result.stderr
    return result.stdout


@pytest.fixture
def extra_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Add a plugin with an encoder `later`, which the benchmarks find like installed plugins."""
    file = tmp_path / "extra.py"
    file.write_text(RECURRENT, encoding="utf-8")
    load_with_extra = partial(load_plugins, {file: Location(str(file), 1, 1)})
    monkeypatch.setattr(complexity, "load_plugins", load_with_extra)
    monkeypatch.setattr(compare_components, "load_plugins", load_with_extra)
    return file


@pytest.fixture
def small_multi30k(data: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set SEQX_DATA to a folder with the first lines of Multi30k, of which few are scored."""
    folder = tmp_path / "data" / "multi30k"
    folder.mkdir(parents=True)
    for split, count in (("train", 300), ("val", 20), ("test_2016_flickr", 20)):
        for side in ("en", "de"):
            file = data("multi30k") / f"{split}.{side}.gz"
            lines = islice(seqx.read_lines(file), count)
            (folder / file.name).write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))
    monkeypatch.setenv("SEQX_DATA", str(tmp_path / "data"))


def test_every_component_of_seqx_has_a_benchmark_profile() -> None:
    """Only components of other plugins are benchmarked with generated settings."""
    listed = compare_components.trials()
    assert [name for name, trial in listed.items() if trial.overrides] == []
    assert compare_components.faults(listed) == {}
    assert len({json.dumps(sorted(map(str, trial.parts()))) for trial in listed.values()}) > 20


def test_component_of_another_plugin_is_benchmarked(extra_plugin: Path) -> None:
    trial = compare_components.trials()["encoder_later"]
    assert trial.overrides == ('model.encoder={"type": "later", "layers": 2}',)


def test_component_that_cannot_be_built_is_reported() -> None:
    invalid = compare_components.Trial(overrides=("model.encoder.attention.heads=7",))
    (reason,) = compare_components.faults({"invalid": invalid, "valid": compare_components.Trial()}).values()
    assert reason.startswith("command line:1:31: model.encoder.attention: heads (7) must divide")


def test_components_are_trained_once_and_compared(tmp_path: Path) -> None:
    out, runs = tmp_path / "compare_components.json", tmp_path / "runs"
    names = ["unordered", "alibi"]
    command: list[str | Path] = [
        "--folder",
        runs,
        "--out",
        out,
        "--steps",
        "2",
        "--only",
        *names,
        "--",
        *TINY,
        *SAMPLE,
    ]
    printed = run("compare_components", *command)
    assert [row["run"] for row in table(printed)] == names
    assert "model.{decoder,encoder}.positions: alibi (none)" in printed
    record = json.loads(out.read_text(encoding="utf-8"))
    assert record["failed"] == {}
    assert all(row["finished"] and row["updates"] == 2 and row["tokens_per_second"] for row in record["runs"])
    times = {file: file.stat().st_mtime_ns for file in runs.glob("*/model/*")}
    assert run("compare_components", *command) == printed
    assert {file: file.stat().st_mtime_ns for file in runs.glob("*/model/*")} == times


@pytest.mark.usefixtures("small_multi30k")
def test_rows_of_table_3_are_compared_and_a_failed_row_is_reported(tmp_path: Path) -> None:
    out = tmp_path / "table3.json"
    tiny = [*TINY[:-1], "task.corpus.limit=300", "training.steps=2"]
    (tmp_path / "C_layers_4").write_text("not a run folder", encoding="utf-8")
    rows = ["base", "C_layers_2", "C_layers_4"]
    printed = run("table3", "--folder", tmp_path, "--out", out, "--rows", *rows, "--", *tiny, code=1)
    runs = json.loads(out.read_text(encoding="utf-8"))["runs"]
    first, second = table(printed.partition("\n\n| row")[0])
    assert (first["run"], second["run"]) == ("base", "C_layers_2")
    assert second["dev perplexity"].endswith(" (6.11)")
    comparison = table("| row" + printed.partition("\n| row")[2])[0]
    assert (comparison["row"], comparison["BLEU - base"]) == ("C_layers_2", "+0.00")
    factor = runs[1]["perplexity"]["dev"] / runs[0]["perplexity"]["dev"]
    assert float(comparison["perplexity / base"]) == pytest.approx(factor, abs=6e-4)
    assert [line for line in printed.splitlines() if "failed" in line] == [
        f"C_layers_4: failed: {tmp_path / 'C_layers_4'}: is a file; choose another --folder"
    ]


@pytest.mark.usefixtures("small_multi30k")
def test_architectures_are_trained_for_the_same_number_of_updates(tmp_path: Path) -> None:
    out = tmp_path / "compare_architectures.json"
    small = ["training.tokens=200", "task.corpus.limit=100", "task.tokenizer.size=300", "model.d_model=16"]
    short = ["search={type: greedy, ratio: 0, extra: 1}", "training.precision=fp32"]
    recipes = ["multi30k_en_de", "multi30k_hybrid"]
    command: list[str | Path] = [
        "--folder",
        tmp_path / "runs",
        "--recipes",
        *recipes,
        "--steps",
        "2",
        "--out",
        out,
    ]
    printed = run("compare_architectures", *command, "--", *small, *short)
    assert [row["run"] for row in table(printed.partition("\n\n")[0])] == recipes
    runs = json.loads(out.read_text(encoding="utf-8"))["runs"]
    assert all(row["finished"] and row["updates"] == 2 for row in runs)
    assert set(recipes) <= set(compare_architectures.RECIPES) <= set(included_recipes())


def test_override_after_recipes_without_separator_is_refused(tmp_path: Path) -> None:
    recipes = ["--recipes", "multi30k_en_de", "training.tokens=200"]
    run("compare_architectures", "--folder", tmp_path, *recipes, code=2)
    assert list(tmp_path.iterdir()) == []


def test_table_3_has_20_rows() -> None:
    rows = table3.rows()
    assert (rows[0], rows[-1], len(rows)) == ("base", "big", 20)
    assert rows.index("A_heads_4") < rows.index("A_heads_16")
    (job,) = table3.jobs(["big"], Path("f"), full=True, device="cuda", overrides=[])
    assert job.arguments == ["table3/big", "--device", "cuda"]


def test_stopped_benchmark_stops_its_runs(tmp_path: Path) -> None:
    """At most two runs are started at a time, and a signal stops those that are running."""
    started: list[str] = []

    class Sleep(Job):
        def start(self, environment: object) -> "subprocess.Popen[bytes]":
            started.append(self.name)
            if len(started) == 2:
                signal.raise_signal(signal.SIGTERM)
            processes.append(subprocess.Popen(["sleep", "60"]))
            return processes[-1]

    processes: list[subprocess.Popen[bytes]] = []
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        work([Sleep(name, [], tmp_path / name) for name in "abc"], 2, {})
    assert (started, len(processes)) == (["a", "b"], 1)
    assert processes[0].wait() == -signal.SIGTERM
    assert time.monotonic() - start < 30


def test_growth_exponent_is_fitted_to_the_longest_lengths() -> None:
    lengths = [16, 32, 64, 128, 256]
    values = [1.0, 1.0, *(5 * n**1.5 for n in lengths[2:])]
    assert complexity.exponent(lengths, values) == pytest.approx(1.5)
    assert complexity.exponent(lengths[:2], values[:2]) is None


def test_complexity_counts_tensors_saved_for_the_backward_pass_once() -> None:
    x = torch.randn(1, 10, 4, requires_grad=True)
    assert complexity._kept_bytes(lambda x: x.exp().exp(), x) == 2 * 40 * 4  # exp saves its output
    assert complexity._kept_bytes(lambda x: x * x, x) == 40 * 4


def test_measurement_of_complexity_stops_before_the_memory_limit() -> None:
    limits = complexity.Limits(seconds=60, kept=4 * 100**2)
    points = complexity.measure(lambda x: (x @ x.mT).exp(), [10, 20, 40, 80, 160], 1, limits, 1)
    assert [point.length for point in points] == [10, 20, 40, 80]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--shortest", "0"], "0 is not positive"),
        (["--width", "-1"], "-1 is not positive"),
        (["--repeats", "0"], "0 is not positive"),
        (["--shortest", "64", "--longest", "32"], "--longest 32 is less than --shortest 64"),
    ],
)
def test_complexity_refuses_invalid_numbers(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["complexity", *arguments])
    with pytest.raises(SystemExit, match="2"):
        complexity.main()
    assert message in capsys.readouterr().err


def test_complexity_of_every_layer_is_compared_with_table_1(
    extra_plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    out, picture = tmp_path / "complexity.json", tmp_path / "complexity.svg"
    options = ["--width", "4", "--shortest", "64", "--longest", "512", "--repeats", "1"]
    monkeypatch.setattr(sys, "argv", ["complexity", *options, "--out", str(out), "--draw", str(picture)])
    assert complexity.main() == 0
    layers = json.loads(out.read_text(encoding="utf-8"))["layers"]
    registry = load_plugins({extra_plugin: Location(str(extra_plugin), 1, 1)}).registry
    expected = {
        f"{interface.__name__}-{name}"
        for interface in (seqx.Attention, seqx.Encoder)
        for name in registry.components(interface)
    }
    positions = {f"PositionalEncoding-{name}" for name in ("alibi", "rotary", "shaw", "t5")}
    assert layers.keys() == expected | positions
    assert (
        layers["PositionalEncoding-shaw"]["points"][0]["kept"]
        > layers["Attention-multihead"]["points"][0]["kept"]
    )
    assert layers["Attention-multihead"]["growth"]["kept"] == pytest.approx(2, abs=0.2)
    assert layers["Encoder-lstm"]["growth"]["kept"] == pytest.approx(1, abs=0.2)
    assert layers["Encoder-later"]["claim"] is None
    assert layers["Encoder-lstm"]["claim"] == {"layer": "recurrent", "operations": "n d²", "exponent": 1}
    rows = {row["layer"]: row for row in table(capsys.readouterr().out)}
    assert rows["Encoder-lstm"]["growth in Table 1"] == "n^1"
    assert rows["Attention-multihead"]["longest n"] == "512"
    text = picture.read_text(encoding="utf-8")
    assert text.lstrip().startswith("<?xml")
    assert text.count("Encoder-lstm") >= 1
