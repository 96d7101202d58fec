"""A short run of `benchmarks/kill_test.py`, and its comparison of two runs."""

import os
from pathlib import Path

import pytest

from benchmarks import kill_test, run_differences

RECIPES = ("translation", "parsing")  # the benchmark also kills runs that fine-tune


@pytest.mark.promise("resume-is-bitwise-equal")
@pytest.mark.promise("resume-after-kill-in-save")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_and_resumed_run_equals_the_uninterrupted_run(tmp_path: Path) -> None:
    outcome = kill_test.kill_runs(tmp_path, kills=4, saves=1, full=0, each=2, seed=3, recipes=RECIPES)
    assert outcome.kills >= 4
    assert outcome.inside_saves >= 1
    assert outcome.runs >= 2
    assert (outcome.different, outcome.wrong) == ([], [])
    for run in outcome.undisturbed.values():  # the run ends inside a later epoch
        assert run["epoch"] >= 1
        assert run["index"] > 0
    assert outcome.undisturbed["translation"]["best"] > 0  # the best checkpoint is not the first


def test_comparison_of_runs_finds_different_bits_and_ignores_times(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder, seconds in ((one, 1), (other, 2)):
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"\0")
        rows = f'{{"kind": "start"}}\n{{"kind": "update", "loss": 1.5, "seconds": {seconds}}}\n'
        (folder / "metrics.jsonl").write_text(rows * seconds if folder == one else rows, encoding="utf-8")
        (folder / "states.json").write_text(
            f'{{"dict": [["seconds", {seconds}], ["step", 3]]}}', encoding="utf-8"
        )
    assert run_differences.differences(one, other) == []
    (other / "model.safetensors").write_bytes(b"\1")
    (other / "metrics.jsonl").write_text('{"kind": "update", "loss": 1.25}\n', encoding="utf-8")
    (other / "states.json").write_text('{"dict": [["step", 4]]}', encoding="utf-8")
    assert run_differences.differences(one, other) == ["metrics.jsonl", "model.safetensors", "states.json"]
    (other / "model.safetensors").unlink()
    assert "model.safetensors" in run_differences.differences(one, other)
