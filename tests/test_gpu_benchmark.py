"""The GPU benchmark, run on a CPU with tiny sizes, and its count of floating-point operations."""

import json
import math
import os
import shlex
import subprocess
import sys
from importlib.metadata import Distribution, PathDistribution, distribution
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import seqx
from benchmarks import corpus
from benchmarks.gpu import cases, training
from benchmarks.gpu.__main__ import PARTS, START
from benchmarks.gpu.__main__ import _expected as speed_to_expect
from benchmarks.gpu.arithmetic import Arithmetic
from benchmarks.gpu.checkout import register
from benchmarks.gpu.expected import expected
from benchmarks.gpu.recipes import TINY, experiment, model
from tests import forked

ROOT = Path(__file__).parents[1]


def numbers(value: Any) -> list[float]:
    """Return all numbers in a nested value."""
    match value:
        case dict():
            return [n for item in value.values() for n in numbers(item)]
        case list():
            return [n for item in value for n in numbers(item)]
        case bool() | str() | None:
            return []
        case _:
            return [value]


def test_script_of_the_gpu_benchmark_runs_the_chosen_part(tmp_path: Path) -> None:
    """The script calls a program that records its arguments instead of running Python; forks run them."""
    out, python, record = tmp_path / "gpu.json", tmp_path / "python", tmp_path / "commands"
    python.write_text(
        f"#!/usr/bin/env bash\n(printf '%q ' \"$PYTHONPATH\" \"$@\"; echo) >> '{record}'\n", encoding="utf-8"
    )
    python.chmod(0o755)
    script = [str(ROOT / "benchmarks" / "gpu.sh"), "--dry-run", "--only", "machine", "--out", str(out)]
    done = subprocess.run(
        ["bash", *script], env={**os.environ, "PYTHON": str(python)}, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    commands = [shlex.split(line) for line in record.read_text(encoding="utf-8").splitlines()]
    path = [command.pop(0) for command in commands][-1]
    site = path.removeprefix(f"{ROOT}:{ROOT / 'plugins'}:").partition(":")[0]  # for wheels and entry points
    assert commands[-2] == ["benchmarks/gpu/checkout.py", site]
    assert commands[-1][:2] == ["-m", "benchmarks.gpu"]
    for command in commands:
        fork = forked.run(sys.executable, *command, cwd=ROOT)
        assert fork.returncode == 0, fork.stderr
    parts = json.loads(out.read_text(encoding="utf-8"))["parts"]
    assert [name for name, results in parts.items() if results["status"] == "done"] == ["machine"]


@pytest.mark.parametrize("failing", ["pip", "checkout.py"])
def test_script_of_the_gpu_benchmark_ends_at_the_first_failing_command(tmp_path: Path, failing: str) -> None:
    script, python, record = tmp_path / "benchmarks/gpu.sh", tmp_path / "python", tmp_path / "commands"
    for folder in (script.parent, tmp_path / ".whl"):
        folder.mkdir()
    script.write_bytes((ROOT / "benchmarks" / "gpu.sh").read_bytes())
    (tmp_path / ".whl" / "some.whl").touch()
    python.write_text(
        f"#!/usr/bin/env bash\necho \"$@\" >> '{record}'\n[[ $* != *{failing}* ]]\n", encoding="utf-8"
    )
    python.chmod(0o755)
    done = subprocess.run(["bash", str(script)], env={**os.environ, "PYTHON": str(python)}, check=False)
    assert done.returncode == 1
    assert failing in record.read_text(encoding="utf-8").splitlines()[-1]


def test_dry_run_of_the_gpu_benchmark_fills_every_part(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    done = forked.run(sys.executable, "-m", "benchmarks.gpu", "--dry-run", "--out", out, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    record = json.loads(out.read_text(encoding="utf-8"))
    assert record["dry_run"] is True
    assert list(record["parts"]) == ["machine", "training", "decoding", "repeats", "multi30k"]
    cases_by_name = {
        part: {case["name"]: case for case in results["cases"]} for part, results in record["parts"].items()
    }
    for part, results in record["parts"].items():
        assert results["status"] == "done", json.dumps(results, indent=1)
        assert results["cases"], part
        for case in results["cases"]:
            assert case["status"] == "done"
            assert all(map(math.isfinite, numbers(case["figures"]))), case
            assert f"  {case['name']}" in done.stdout
    trained = cases_by_name["training"]
    assert trained.keys() == {*training.DRY.cases} == {*training.ALL} - {"base compiled"}
    assert trained["big compiled"]["figures"]["compiled"]
    expected = record["expected"]
    assert {*expected["training"]} <= trained.keys() | {"base compiled"}
    assert all(math.isfinite(number) and number > 0 for number in numbers(expected))
    assert cases_by_name["repeats"]["deterministic"]["figures"]["same_bits"]
    rates = {
        name: cases_by_name["machine"][f"matmul {name}"]["figures"]["tflops"] for name in ("bf16", "fp32")
    }
    for case in trained.values():
        figures = case["figures"]
        assert 0.5 < figures["useful_share"] <= 1
        fraction = figures["tflops"] / rates[figures["precision"]]
        assert figures["fraction_of_matmul"] == pytest.approx(fraction)
    seeds = cases_by_name["multi30k"]["1 seeds"]["figures"]["seeds"]
    assert seeds[0]["updates"] >= 2
    assert {"tokenized_bleu", "bleu"} <= seeds[0]["test"].keys()
    for case in cases_by_name["decoding"].values():
        figures = case["figures"]
        rate = 28 * figures["sentences"] / figures["seconds"]
        assert figures["output_tokens_per_second"] == pytest.approx(rate)


def test_estimated_times_of_all_parts_fit_into_nine_minutes() -> None:
    assert sum(PARTS.values()) <= 530
    assert sum(map(training.seconds_of, training.ALL)) + START <= PARTS["training"]


def test_time_before_the_first_part_counts(tmp_path: Path) -> None:
    """The script passes the time in which it installed wheels."""
    out = tmp_path / "gpu.json"
    command = ["-m", "benchmarks.gpu", "--dry-run", "--out", str(out), "--limit", "500"]
    done = forked.run(sys.executable, *command, "--elapsed", "490", cwd=ROOT)
    assert done.returncode == 0, done.stderr
    parts = json.loads(out.read_text(encoding="utf-8"))["parts"]
    assert {results["status"] for results in parts.values()} == {"skipped"}


def test_expected_speed_that_cannot_be_computed_is_no_reason_to_measure_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failed = subprocess.CompletedProcess[str]([], 1, "", "injected")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    assert speed_to_expect() == {"error": "injected"}


def test_goals_are_below_the_speed_that_arithmetic_allows() -> None:
    found = expected()
    for name, goal in (("base", 0.45), ("big", 0.55)):
        assert goal <= found["training"][name]["fraction_of_matmul"] <= 1
    text = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    for case in found["training"].values():
        assert (
            f"{round(case['target_tokens_per_second'], -3):,.0f} | {case['fraction_of_matmul']:.2f}" in text
        )
    assert found["decoding"]["batch 1024 without graphs"]["output_tokens_per_second"] >= 100_000


def test_failed_and_skipped_cases_are_recorded_and_later_cases_run(tmp_path: Path) -> None:
    def broken(left: float) -> cases.Measurements:
        raise ZeroDivisionError("injected")

    def without_data(left: float) -> cases.Measurements:
        raise cases.SkippedCase("no data")

    listed = [
        cases.Case("broken", 0, broken),
        cases.Case("without data", 0, without_data),
        cases.Case("long", 1000, lambda left: {"left": left}),
        cases.Case("complete", 0, lambda left: {"left": left}),
    ]
    cases.run(listed, tmp_path / "cases.json", limit=60)
    failed, skipped, too_long, done = json.loads((tmp_path / "cases.json").read_text(encoding="utf-8"))
    assert (failed["status"], failed["error"]) == ("failed", "ZeroDivisionError: injected")
    assert (skipped["status"], skipped["reason"]) == ("skipped", "no data")
    assert (too_long["status"], too_long["reason"]) == ("skipped", "needs 1000 s, 60 s left")
    assert done["status"] == "done"
    assert 59 < done["figures"]["left"] <= 60


@pytest.mark.parametrize(("recipe", "megaflop"), [("wmt_en_de", 380), ("wmt_en_de_big", 1289)])
def test_operations_per_pair_of_the_base_and_big_models(recipe: str, megaflop: float) -> None:
    with torch.device("meta"):
        counted = Arithmetic(model(experiment(recipe), 37_000))
    source, target = corpus.lengths(np.random.default_rng(1), 50_000).T + 1
    pairs = (source.sum() + target.sum()) / 2
    assert counted.training(source, target) / pairs / 1e6 == pytest.approx(megaflop, rel=0.03)


def test_counted_operations_equal_those_of_torch() -> None:
    built = model(experiment("wmt_en_de", TINY), 50)
    ids = torch.randint(4, 50, (3, 16))
    source = seqx.Column.of(ids[:, :7], torch.full((3,), 7))
    target = seqx.Column.of(ids, torch.full((3,), 16))
    with FlopCounterMode(display=False) as counter:
        built.head(built(seqx.Batch.of(source=source, target=target)))
    assert Arithmetic(built).forward(np.full(3, 7), np.full(3, 16)) == counter.get_total_flops()


def test_generated_lengths_have_the_statistics_of_news_text() -> None:
    """English and German training text of WMT: see benchmarks/corpus.py."""
    pair_lengths = corpus.lengths(np.random.default_rng(1), 100_000)
    logs = np.log(pair_lengths)
    assert pair_lengths.mean(0) == pytest.approx([27, 27], rel=0.02)
    assert logs.std(0) == pytest.approx([0.53, 0.53], rel=0.02)
    assert np.diff(logs).std() == pytest.approx(0.3, rel=0.03)
    assert pair_lengths.min() >= 1
    assert pair_lengths.max() > 120


def test_generated_store_has_random_tokens_and_eos(tmp_path: Path) -> None:
    store = corpus.store(tmp_path, pairs=500, vocabulary=100)
    assert len(store) == 500
    for name in ("source", "target"):
        column = store.columns[name]
        assert (column.values[column.offsets[1:] - 1] == seqx.EOS).all()
        assert (column.values == seqx.EOS).sum() == 500
        assert set(np.unique(column.values)) <= {seqx.EOS, *range(4, 100)}


def test_registered_checkout_has_the_metadata_of_the_installed_package(tmp_path: Path) -> None:
    register(tmp_path, ROOT / "pyproject.toml")
    registered = PathDistribution(next(tmp_path.glob("*.dist-info")))

    def metadata(package: Distribution) -> tuple[str, str, set[tuple[str, str, str]]]:
        entries = {(entry.group, entry.name, entry.value) for entry in package.entry_points}
        return package.metadata["Name"], package.version, entries

    assert metadata(registered) == metadata(distribution("seqx-toolkit"))
