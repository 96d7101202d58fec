"""Runs that are interrupted and resumed, extended, or started twice."""

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from seqx.storage.checkpoints import Checkpoints
from seqx.training.checkpointer import Checkpointer
from tests.forked import Forked
from tests.stories.tiny import TINY, done, files, lines, refused, seqx, tiny, weights

STOPPER = """\
import os

import seqx


class Stopper(seqx.Callback):
    \"\"\"A callback that sends the process a signal after an update.\"\"\"

    @seqx.hookimpl
    def updated(self, update: seqx.Update) -> None:
        if str(update.step) == os.environ.get("STOP_AT"):
            os.kill(os.getpid(), int(os.environ["STOP_BY"]))


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    registry.add(seqx.Callback, stopper=Stopper)
"""


def start_and_signal(recipe: Path, step: int, by: signal.Signals) -> Forked:
    """Start a run in a process of its own, which sends itself a signal after an update."""
    return Forked(
        ["run", recipe],
        env={**os.environ, "STOP_AT": str(step), "STOP_BY": str(int(by))},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.promise("resume-is-bitwise-equal")
def test_killed_and_interrupted_run_resumes_bitwise() -> None:
    Path("stopper.py").write_text(STOPPER, encoding="utf-8")
    text = TINY.replace("steps: 6", "steps: 10").replace("callbacks: [", "callbacks: [stopper, ")
    recipe, uninterrupted = (
        tiny(f"plugins: [stopper.py]\n{text}"),
        tiny(f"plugins: [stopper.py]\n{text}", "other.yaml"),
    )
    run = Path("runs/tiny")

    process = start_and_signal(recipe, 5, signal.SIGSTOP)
    assert os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1])
    message = refused("run", recipe)
    assert (
        message == f"{run}: another run uses this folder; wait for it, or choose another folder (--folder)\n"
    )
    process.kill()
    process.communicate()
    assert not (run / "model").exists()

    process = start_and_signal(recipe, 9, signal.SIGINT)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 75
    assert "Traceback" not in error
    assert error.splitlines()[-1] == (
        f"{run}: stopped by SIGINT, the checkpoint of update 9 is kept; "
        "run the same command again to continue"
    )
    assert [row["step"] for row in lines(run, "start")] == [0, 4]

    done("run", recipe)
    assert [row["step"] for row in lines(run, "start")] == [0, 4, 9]
    assert [row["step"] for row in lines(run, "update")] == [*range(1, 11)]

    done("run", uninterrupted)
    whole = Path("runs/other")
    for folder in ("checkpoints/00000010", "model"):
        ours, theirs = weights(run / folder), weights(whole / folder)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert [row["loss"] for row in lines(run, "update")] == [row["loss"] for row in lines(whole, "update")]


def test_some_settings_may_change_when_a_run_is_resumed(finished: Callable[..., Path]) -> None:
    recipe, run = tiny(), finished()
    before = files(run)
    output = refused("run", recipe, "training.tokens=400", "model.encoder.norm_order=pre")
    assert output.splitlines() == [
        (
            f"{run}: has a run of another recipe; choose another folder (--folder), or remove this one. "
            "Differences:"
        ),
        "  model.encoder.norm_order: post before, pre now",
        "  training.tokens: 300 before, 400 now",
    ]
    output = refused("run", recipe, "training.steps=4")
    assert output == (
        f"{run}: this run has made 6 updates, more than training.steps=4; set training.steps to 6 or more, "
        "or choose another folder (--folder)\n"
    )
    assert "finished" in done("run", recipe, "training.microbatch=1000", "callbacks=[progress]")
    assert files(run) == before

    output = done("run", recipe, "training.steps=8")
    assert "finished" not in output
    assert [row["step"] for row in lines(run, "update")] == [*range(1, 9)]
    assert yaml.safe_load((run / "model" / "recipe.yaml").read_text())["training"]["steps"] == 8
    assert "finished" in done("run", recipe, "training.steps=8")
    straight = tiny(name="straight.yaml")
    done("run", straight, "training.steps=8")
    ours, theirs = weights(run / "model"), weights(Path("runs/straight/model"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_setting_that_a_later_version_added_is_no_difference(finished: Callable[..., Path]) -> None:
    recipe, run = tiny(), finished("training.steps=2")
    file = run / "recipe.yaml"
    older = file.read_text(encoding="utf-8").replace("  max_nonfinite: 10\n", "")
    older, found = re.subn(r"(positions:)\s+type: (sinusoidal)\s+base: 10000.0\n", r"\1 \2\n", older)
    assert found == 2
    assert "nonfinite" not in older
    file.write_text(older, encoding="utf-8")
    assert "finished" in done("run", recipe, "training.steps=2")
    assert "training.max_nonfinite: not set before, 3 now" in refused(
        "run", recipe, "training.max_nonfinite=3"
    )


@pytest.mark.parametrize("mistake", ["task.metrics=[nonsense]", "model.d_model=31"])
def test_corrected_recipe_can_use_the_folder_of_a_failed_start(mistake: str) -> None:
    recipe = tiny()
    assert refused("run", recipe, "training.steps=2", mistake)
    done("run", recipe, "training.steps=2")


def test_half_written_checkpoint_is_ignored(finished: Callable[..., Path]) -> None:
    recipe, run = tiny(), finished("training.steps=4")
    half = run / "checkpoints" / ".00000006.0a1b2c3d.part"
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"half")
    done("run", recipe)
    assert [row["step"] for row in lines(run, "start")] == [0, 4]
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == [
        "00000002",
        "00000004",
        "00000006",
    ]


@pytest.mark.promise("fallback-to-older-checkpoint")
@pytest.mark.parametrize(
    "callbacks", ["[progress, {type: metrics, every: 1}]", "[{type: metrics, every: 1}]"]
)
def test_damaged_checkpoint_is_named_and_an_earlier_one_is_used(
    callbacks: str, finished: Callable[..., Path]
) -> None:
    """With and without the callback `progress`."""
    straight = weights(finished() / "model")
    shutil.rmtree("runs")
    recipe, run = tiny(), finished("training.steps=4")
    file = run / "checkpoints/00000004/model.safetensors"
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    result = seqx("run", recipe, f"callbacks={callbacks}")
    assert result.exit_code == 0
    message = (
        f"{file}: cannot be read (its bytes are not those that were written); resuming from the checkpoint "
        "of update 2; it was renamed to 00000004.damaged"
    )
    assert result.stderr.count(message) == 1
    if "progress" in callbacks:
        assert (run / "log.txt").read_text(encoding="utf-8").count(message) == 1
    assert [row["step"] for row in lines(run, "start")] == [0, 2]
    assert [row["step"] for row in lines(run, "update")] == [*range(1, 7)]
    resumed = weights(run / "model")
    assert all(torch.equal(resumed[name], tensor) for name, tensor in straight.items())


@pytest.mark.promise("fallback-to-older-checkpoint")
def test_run_with_only_damaged_checkpoints_does_not_start_over(finished: Callable[..., Path]) -> None:
    recipe, run = tiny(), finished("training.steps=2")
    (run / "checkpoints/00000002/states.json").unlink()
    message = refused("run", recipe)
    assert message.splitlines()[-1] == (
        f"{run}/checkpoints/00000002/states.json: cannot be read (No such file or directory); no earlier "
        f"checkpoint is intact: remove {run}/checkpoints to start again"
    )
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["00000002"]


def test_resumed_run_keeps_its_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqx.runtime.cpu_threads.adapt_to_contention", lambda: None)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    recipe = tiny(TINY.replace("dev: 6, test: 6", "dev: 1, test: 1"))
    environment = Path("runs/tiny/environment.json")

    def threads(*arguments: str) -> tuple[int, str]:
        """Run with one thread in the environment; return the recorded number and the messages about it."""
        torch.set_num_threads(1)
        try:
            result = seqx("run", recipe, *arguments)
        finally:
            torch.set_num_threads(1)
        assert result.exit_code == 0
        messages = [line for line in result.stderr.splitlines() if "thread" in line]
        return json.loads(environment.read_text(encoding="utf-8"))["threads"], "\n".join(messages)

    assert threads("--threads", "2", "training.steps=2") == (2, "")
    number, message = threads("training.steps=4")
    assert number == 2
    assert "continues with 2 threads, as it began, and not with 1 (OMP_NUM_THREADS)" in message
    number, message = threads("training.steps=6", "--threads", "1")
    assert number == 1
    assert "computed with 2 threads before and continues with 1 (--threads)" in message
    assert threads("training.steps=8") == (1, "")

    # The recorded number of threads is ignored if it is invalid or the number of processes was another one.
    about = json.loads(environment.read_text(encoding="utf-8"))
    for recorded in (
        {"processes": 2, "threads": 2},
        {"threads": "many"},
        {"threads": True},
        {"threads": 10**9},
    ):
        environment.write_text(json.dumps({**about, **recorded}), encoding="utf-8")
        (Path("runs/tiny/model") / "scores.json").unlink()
        assert threads("training.steps=8") == (1, "")


def test_run_that_was_killed_before_it_pruned_checkpoints_prunes_them_when_resumed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The process ends between the last save and the removal of old checkpoints."""
    recipe, settings = tiny(TINY), ("training.keep_checkpoints=1", "training.average=1")
    prune = Checkpointer.prune

    def killed(self: Checkpointer, *arguments: Any, **options: Any) -> None:
        if self.checkpoints.steps()[-1] == 6:
            raise KeyboardInterrupt
        prune(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpointer, "prune", killed)
        assert seqx("run", recipe, *settings).exit_code == 130
    checkpoints = Checkpoints(Path("runs/tiny/checkpoints"))
    assert checkpoints.steps() == [4, 6]
    done("run", recipe, *settings)
    assert checkpoints.steps() == [6]
