"""Runs that are killed, a few times: the short form of `benchmarks/kill_test.py`."""

import os
from pathlib import Path

import pytest

from benchmarks import endings, kill_test


@pytest.mark.promise("resume-is-bitwise-equal")
@pytest.mark.promise("resume-after-kill-in-save")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_run_that_is_killed_ends_as_one_that_is_not(tmp_path: Path) -> None:
    told = kill_test.soak(tmp_path, kills=4, saves=1, full=0, each=2, seed=3)
    assert told.kills >= 4
    assert told.inside_saves >= 1
    assert told.runs >= 2
    assert (told.different, told.wrong) == ([], [])
    for run in told.undisturbed.values():  # they are worth killing: an epoch ends, and one is broken off
        assert run["epoch"] >= 1
        assert run["index"] > 0
    assert (
        told.undisturbed["translation"]["best"] > 0
    )  # so that the best checkpoint is another one than the first


def test_the_comparison_finds_a_bit_and_forgives_a_clock(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder, seconds in ((one, 1), (other, 2)):
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"\0")
        rows = f'{{"kind": "start"}}\n{{"kind": "update", "loss": 1.5, "seconds": {seconds}}}\n'
        (folder / "metrics.jsonl").write_text(rows * seconds if folder == one else rows, encoding="utf-8")
        (folder / "states.json").write_text(
            f'{{"dict": [["seconds", {seconds}], ["step", 3]]}}', encoding="utf-8"
        )
    assert endings.differences(one, other) == []
    (other / "model.safetensors").write_bytes(b"\1")
    (other / "metrics.jsonl").write_text('{"kind": "update", "loss": 1.25}\n', encoding="utf-8")
    (other / "states.json").write_text('{"dict": [["step", 4]]}', encoding="utf-8")
    assert endings.differences(one, other) == ["metrics.jsonl", "model.safetensors", "states.json"]
    (other / "model.safetensors").unlink()
    assert "model.safetensors" in endings.differences(one, other)
