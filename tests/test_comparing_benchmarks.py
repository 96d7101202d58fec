"""Benchmarks that compare runs or layers, with inputs so small that their numbers mean nothing."""

import json
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest
import torch

import seqx
from benchmarks import compare_components, complexity
from benchmarks.compare_components import Trial
from benchmarks.record_sweep import run_name
from seqx.errors import Location
from seqx.plugin.loading import load_plugins
from seqx.recipe import included_recipes, load
from seqx_runs.sweep_check import checked_recipes
from seqx_runs.sweep_file import read_sweep
from tests import forked
from tests.plugins.runs.test_compare import table

ROOT = Path(__file__).parents[1]
SWEEPS = ROOT / "benchmarks" / "sweeps"
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
    """Return the output of a module that ends with this exit code."""
    result = forked.run(sys.executable, "-m", module, *arguments, cwd=ROOT)
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


@pytest.fixture(scope="module")
def trials() -> Mapping[str, Trial]:
    """Return the trials of the components that seqx includes."""
    return compare_components.trials()


def test_every_component_of_seqx_has_a_benchmark_profile(trials: Mapping[str, Trial]) -> None:
    """Only components of other plugins are benchmarked with generated settings."""
    assert [name for name, trial in trials.items() if trial.settings] == []
    assert compare_components.faults(trials) == {}
    assert len({json.dumps(sorted(map(str, trial.parts()))) for trial in trials.values()}) > 20


def test_component_of_another_plugin_is_benchmarked(extra_plugin: Path, tmp_path: Path) -> None:
    trial = compare_components.trials()["encoder_later"]
    assert trial.settings == {"model.encoder": {"type": "later", "layers": 2}}
    found = read_sweep(compare_components.write_sweep(tmp_path, {"base": Trial(), "encoder_later": trial}))
    assert [each.profile for each in found.configurations] == [None, "encoder_later"]
    recipe = load(found.baseline.recipe_file, "encoder_later").tree.plain()
    assert recipe["model"]["encoder"] == {"type": "later", "layers": 2}


def test_component_that_cannot_be_built_is_reported() -> None:
    invalid = Trial(settings={"model.encoder.attention.heads": 7})
    (reason,) = compare_components.faults({"invalid": invalid, "valid": Trial()}).values()
    assert reason.startswith(
        "model.encoder.attention.heads=7: model.encoder.attention: heads (7) must divide"
    )


def test_sweep_over_components_is_trained_and_recorded(trials: Mapping[str, Trial], tmp_path: Path) -> None:
    names = ["unordered", "alibi"]
    sweep = compare_components.write_sweep(tmp_path, {name: trials[name] for name in names})
    arguments: list[str | Path] = [
        sweep,
        "--folder",
        tmp_path / "runs",
        "training.steps=2",
        "training.validate_every=2",
    ]
    printed = run("seqx", "sweep", *arguments, *TINY, *SAMPLE)
    assert [row["profile"] for row in table(printed)] == names
    out = tmp_path / "record.json"
    printed = run("benchmarks.record_sweep", *arguments, "--out", out, "--", *TINY, *SAMPLE)
    assert [row["run"] for row in table(printed)] == names
    assert "model.{decoder,encoder}.positions: alibi (none)" in printed
    record = json.loads(out.read_text(encoding="utf-8"))
    assert record["failed"] == {}
    assert [row["run"] for row in record["runs"]] == names
    assert all(row["finished"] and row["updates"] == 2 and row["tokens_per_second"] for row in record["runs"])
    other = run("benchmarks.record_sweep", sweep, "--folder", tmp_path / "other", code=1)
    assert other == "unordered: not finished\nalibi: not finished\n"


@pytest.mark.usefixtures("small_multi30k")
@pytest.mark.parametrize("name", ["architectures", "architectures_full", "mixtures", "table3"])
def test_trials_of_a_sweep_of_the_benchmarks_are_valid(name: str) -> None:
    sweep = read_sweep(SWEEPS / f"{name}.yaml")
    assert len(checked_recipes(sweep)) == len(sweep.configurations)


def test_sweeps_have_the_runs_of_the_records() -> None:
    for name, record in (
        ("table3", "table3"),
        ("mixtures", "mixtures"),
        ("architectures", "compare_architectures"),
    ):
        rows = json.loads((ROOT / f"benchmarks/results/{record}.json").read_text(encoding="utf-8"))["runs"]
        names = [run_name(trial) for trial in read_sweep(SWEEPS / f"{name}.yaml").trials]
        assert sorted(names) == sorted(row["run"] for row in rows)


def test_sweeps_over_table_3_have_all_rows() -> None:
    rows = [name for name in included_recipes() if name.startswith("table3/")]
    for name in ("table3", "table3_full"):
        recipes = [each.recipe for each in read_sweep(SWEEPS / f"{name}.yaml").configurations]
        assert (recipes[0], recipes[-1], len(recipes)) == ("table3/base", "table3/big", 20)
        assert sorted(recipes) == sorted(rows)


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
    options = ["--width", "4", "--shortest", "128", "--longest", "512", "--repeats", "1"]
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
