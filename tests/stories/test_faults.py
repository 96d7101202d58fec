"""Runs with non-finite updates, loss spikes and out-of-memory errors: they recover or stop with a message."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from seqx.interfaces.learning import Optimizer
from seqx.parallel.parallelism import SingleDevice, Step
from seqx.storage import checkpoints, state_dict
from seqx.storage.checkpoint_info import TrainingProgress
from seqx.storage.checkpoints import Checkpoints
from seqx.training.recovery.divergence import Divergence
from seqx.training.recovery.rollback import Rollback
from seqx.training.recovery.skipped_batches import SkippedBatches, remove_later_checkpoints
from seqx_training import InverseSquareRoot
from tests import forked
from tests.stories.tiny import TINY, done, lines, refused, tiny, weights

PLUGIN = """\
import os

import torch

import seqx
import seqx_training


class Breaking(seqx_training.CrossEntropy):
    \"\"\"A loss that is wrong for long targets, and an out-of-memory error for large batches.

    Args:
        max_length: length of the longest target whose loss is correct
        grow: factor of the loss of longer targets; 0: the loss is NaN
        most: largest number of sentences for which there is memory
    \"\"\"

    def __init__(self, *, max_length: int = 99, grow: float = 0.0, most: int = 9999) -> None:
        super().__init__(smoothing=0.1)
        self.max_length, self.grow, self.most = max_length, grow, most

    def forward(self, model, batch):
        ids = batch.columns["target"].values
        if len(ids) > self.most:
            raise torch.OutOfMemoryError("injected")
        sums = super().forward(model, batch)
        if ids.size(1) <= self.max_length:
            return sums
        return {name: value * (self.grow or float("nan")) for name, value in sums.items()}


class Killer(seqx.Callback):
    \"\"\"A callback that kills the process at the first occurrence of each message, if KILL is set.\"\"\"

    @seqx.hookimpl
    def noticed(self, run, message: str) -> None:
        file = run.folder / "messages.txt"
        before = file.read_text() if file.exists() else ""
        if "KILL" in os.environ and message not in before:
            file.write_text(before + message)
            os.kill(os.getpid(), 9)


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    registry.add(seqx.Objective, breaking=Breaking)
    registry.add(seqx.Callback, killer=Killer)
"""

ANIMALS = ("dog", "cat", "cow", "pig", "hen")
TEXT = [
    f"the {animal} sees the {other} {place} .\n"
    for animal in ANIMALS
    for other in ANIMALS
    for place in ("here", "there", "at home", "now")
]
LONG_SENTENCE = "the dog and the cat and the cow and the pig and the hen see the dog and the cat .\n"


def recipe(breaking: str, name: str = "tiny.yaml", *, more: int = 0) -> Path:
    """Write text with `1 + more` long sentences, and a recipe with the objective `breaking`."""
    longer = [text.replace(".\n", f"and {LONG_SENTENCE}") for text in TEXT[:more]]
    for split in ("train", "dev", "test"):
        rows = [*TEXT[:60], LONG_SENTENCE, *longer, *TEXT[60:]] if split == "train" else TEXT[:6]
        for side in ("en", "de"):
            Path(f"{split}.{side}").write_text("".join(rows), encoding="utf-8")
    Path("breaking.py").write_text(PLUGIN, encoding="utf-8")
    paths = ", ".join(f"{split}: [{split}.en, {split}.de]" for split in ("train", "dev", "test"))
    text = TINY.replace("{type: sample, train: 300, dev: 6, test: 6}", f"{{type: files, {paths}}}")
    text = text.replace("size: 400", "size: 290").replace("max_length: 24", "max_length: 99")
    text = text.replace("{type: cross_entropy, smoothing: 0.1}", f"{{type: breaking, {breaking}}}")
    text = text.replace("callbacks: [", "callbacks: [killer, ")
    return tiny(f"plugins: [breaking.py]\n{text}", name)


def rollback_messages(run: Path) -> list[str]:
    log = (run / "log.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in log if "rolling back" in line]


def same(one: Path, other: Path) -> bool:
    ours, theirs = weights(one), weights(other)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


SETTINGS = (
    "training.max_nonfinite=0",
    "training.steps=30",
    "training.save_every=3",
    "training.groups=2",
    "training.tokens=100",
    "training.seed=3",
)


def test_rollback_frees_the_optimizer_state_first_and_reports_missing_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    restored, held = Checkpoints.restore, list[int]()
    optimizers = list[torch.optim.Optimizer]()
    build = SingleDevice.build_optimizer

    def build_optimizer(strategy: SingleDevice, optimizer: Optimizer) -> torch.optim.Optimizer:
        optimizers.append(build(strategy, optimizer))
        return optimizers[-1]

    def restore(*arguments: Any) -> Any:
        held.append(len(optimizers[-1].state))
        if len(held) == 2:
            raise torch.OutOfMemoryError("injected")
        return restored(*arguments)

    monkeypatch.setattr(SingleDevice, "build_optimizer", build_optimizer)
    monkeypatch.setattr(Checkpoints, "restore", restore)
    message = refused("run", recipe("max_length: 24"), *SETTINGS, "training.max_rollbacks=9")
    assert held == [0, 0]
    assert "\ncpu is out of memory while it reads a checkpoint; make the model smaller, or shard" in message


@pytest.mark.promise("rollback-skips-batches")
def test_run_rolls_back_if_it_cannot_be_validated_after_a_nonfinite_update(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Update 4 makes the weights so large that the logits of the validation after update 6 are not finite."""
    rate = InverseSquareRoot.__call__
    broken = iter([1e30])

    def rate_or_broken(schedule: InverseSquareRoot, step: int, steps: int) -> float:
        return next(broken, rate(schedule, 4, steps)) if step == 4 else rate(schedule, step, steps)

    monkeypatch.setattr(InverseSquareRoot, "__call__", rate_or_broken)
    settings = ("training.steps=8", "training.save_every=3", "training.validate_every=6")
    done("run", tiny(), *settings)
    (message,) = rollback_messages(Path("runs/tiny"))
    assert ": the loss or the gradient was not finite 2 times in a row, from update 5 on; rolling" in message
    assert "back to the checkpoint of update 3, and skipping the batches of 2 updates" in message
    assert [row["step"] for row in lines(Path("runs/tiny"), "evaluation")] == [6, 8, 8, 8]
    monkeypatch.setattr(InverseSquareRoot, "__call__", lambda *_, **__: 1e30)
    message = refused("run", tiny(), *settings, "--folder", "runs/high")
    assert "the loss or the gradient was not finite" in message
    assert "otherwise lower the learning rate (training.schedule)" in message


@pytest.mark.promise("rollback-skips-batches")
def test_run_rolls_back_and_skips_nonfinite_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    file = recipe("max_length: 24")
    done("run", file, *SETTINGS, "training.steps=15")
    run = Path("runs/tiny")
    recorded = json.loads((run / "skipped_batches.json").read_text(encoding="utf-8"))["returns"]
    assert recorded
    assert len(rollback_messages(run)) == len(recorded) <= 3
    first = recorded[0]
    assert first["why"] == "nonfinite"
    assert first["to"] < first["from"]
    epoch, index = first["batches"][0]
    assert len(first["batches"]) == 1
    assert rollback_messages(run)[0] == (
        f"update {first['from']} (batch {index + 1} of epoch {epoch + 1}): the loss or the gradient was "
        f"not finite; rolling back to the checkpoint of update {first['to']}, "
        "and skipping the batch of 1 update"
    )
    noticed = [(row["step"], row["what"]) for row in lines(run, "noticed") if row["step"]]
    assert noticed == [(rollback["to"], rollback["said"]) for rollback in recorded]
    assert [message for _, message in noticed] == rollback_messages(run)
    updates = lines(run, "update")
    assert [row["step"] for row in updates] == list(range(1, 16))
    assert not any(row["skipped"] for row in updates)
    assert [row["step"] for row in lines(run, "start")][-1] == recorded[-1]["to"]
    undone = done(
        *("replay", run, str(recorded[-1]["from"]), "--undone", "--exact", "--top=1", "--trust-local-plugins")
    )
    assert f"    source:  {LONG_SENTENCE}" in undone
    assert "the loss or the gradient is not finite, so the update does not change the weights" in undone

    # Another run skips the same batches, although it is killed after each rollback.
    recipe("max_length: 24", "again.yaml")
    with monkeypatch.context() as context:
        context.setenv("KILL", "1")
        killed = ["run", "again.yaml", *SETTINGS, "training.steps=15"]
        for _ in recorded:
            process = forked.run(*killed, timeout=120)
            assert process.returncode == -signal.SIGKILL, process.stderr
    done("run", "again.yaml", *SETTINGS, "training.steps=15")
    again = Path("runs/again")
    assert json.loads((again / "skipped_batches.json").read_text(encoding="utf-8"))["returns"] == recorded
    assert same(run / "model", again / "model")
    assert [row["loss"] for row in lines(again, "update")] == [row["loss"] for row in updates]
    assert [(row["step"], row["what"]) for row in lines(again, "noticed") if row["step"]] == noticed
    assert "KILL" not in os.environ


@pytest.mark.promise("no-resume-from-diverged-checkpoint")
def test_rollback_removes_later_checkpoints_before_it_is_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Otherwise a run that is killed in between would resume from a later checkpoint."""
    run, seen = Path("runs/tiny"), list[tuple[int, int]]()
    add = SkippedBatches.add

    def record(self: SkippedBatches, *arguments: Any, back_to: int, **options: Any) -> None:
        seen.append((Checkpoints(run / "checkpoints").steps()[-1], back_to))
        add(self, *arguments, back_to=back_to, **options)

    def remove(step: int, checkpoints: Checkpoints) -> None:
        assert checkpoints.steps()[-1] > step
        remove_later_checkpoints(step, checkpoints)

    monkeypatch.setattr(SkippedBatches, "add", record)
    monkeypatch.setattr("seqx.training.recovery.rollback.remove_later_checkpoints", remove)
    settings = (
        "training.max_nonfinite=1",
        "training.steps=12",
        "training.save_every=1",
        "training.groups=1",
        "training.max_rollbacks=99",
    )
    done("run", recipe("max_length: 24", more=60), *SETTINGS, *settings)
    assert seen
    assert all(last == back_to for last, back_to in seen)


@pytest.mark.promise("rollback-target-is-kept")
def test_rollback_target_is_not_pruned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each update is saved, and `keep_checkpoints` is 1."""
    forward, calls = Step.forward, 0

    def failing(step: Step, batch: Any) -> Any:
        nonlocal calls
        calls += step.training
        sums = forward(step, batch)
        bad = step.training and 6 <= calls < 10
        return {name: value * float("nan") for name, value in sums.items()} if bad else sums

    monkeypatch.setattr(Step, "forward", failing)
    settings = (
        "training.max_nonfinite=3",
        "training.steps=12",
        "training.save_every=1",
        "training.keep_checkpoints=1",
        "search.ratio=1",  # with longer outputs the best checkpoint is not the last one
    )
    done("run", recipe("max_length: 99"), *settings, "training.average=1")
    run = Path("runs/tiny")
    assert [message.partition(";")[2][:44] for message in rollback_messages(run)] == [
        " rolling back to the checkpoint of update 5,"
    ]
    best, last = Checkpoints(run / "checkpoints").steps()  # the best checkpoint is kept, too
    assert (best, last) == (6, 12)


@pytest.mark.promise("rollback-target-is-damaged")
def test_rollback_ignores_a_damaged_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run rolls back further; messages and files name the checkpoint that it resumed from."""
    run, damaged, roll_back = Path("runs/tiny"), list[int](), Rollback.roll_back

    def damage_and_roll_back(self: Rollback, divergence: Divergence) -> TrainingProgress:
        step = max(
            step for step in self._checkpointer.checkpoints.steps() if step < divergence.updates[0].step
        )
        if not damaged:
            file = self._checkpointer.checkpoints.path(step) / "model.safetensors"
            file.write_bytes(file.read_bytes()[:-1] + b"!")
            damaged.append(step)
        return roll_back(self, divergence)

    monkeypatch.setattr(Rollback, "roll_back", damage_and_roll_back)
    settings = ("training.steps=15", "training.save_every=1", "training.keep_checkpoints=99")
    done("run", recipe("max_length: 24"), *SETTINGS, *settings)
    first = json.loads((run / "skipped_batches.json").read_text(encoding="utf-8"))["returns"][0]
    assert first["to"] == damaged[0] - 1
    assert f"rolling back to the checkpoint of update {first['to']}, " in rollback_messages(run)[0]
    assert first["said"] in [row["what"] for row in lines(run, "noticed")]


@pytest.mark.promise("rollback-target-is-damaged")
def test_rollback_without_undamaged_target_removes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    run, later, roll_back = Path("runs/tiny"), list[int](), Rollback.roll_back

    def damage_and_roll_back(self: Rollback, divergence: Divergence) -> TrainingProgress:
        later.extend(
            step for step in self._checkpointer.checkpoints.steps() if step >= divergence.updates[0].step
        )
        for step in self._checkpointer.checkpoints.steps():
            if step < divergence.updates[0].step:
                file = self._checkpointer.checkpoints.path(step) / "model.safetensors"
                file.write_bytes(file.read_bytes()[:-1] + b"!")
        return roll_back(self, divergence)

    monkeypatch.setattr(Rollback, "roll_back", damage_and_roll_back)
    settings = (
        "training.max_nonfinite=1",
        "training.save_every=1",
        "training.groups=1",
        "training.keep_checkpoints=99",
    )
    message = refused("run", recipe("max_length: 24", more=60), *SETTINGS, *settings)
    assert "no earlier checkpoint is intact" in message.splitlines()[-1]
    assert later
    assert set(later) <= set(Checkpoints(run / "checkpoints").steps())
    assert not (run / "skipped_batches.json").exists()


@pytest.mark.promise("stop-after-max-rollbacks")
@pytest.mark.parametrize("returns", [0, 1])
def test_run_stops_after_max_rollbacks_and_names_the_example(returns: int) -> None:
    file = recipe("max_length: 24")
    message = refused("run", file, *SETTINGS, "training.steps=100", f"training.max_rollbacks={returns}")
    last = message.splitlines()[-1]
    assert (
        "): the loss or the gradient was not finite; no rollback is left" in last
        or "no earlier checkpoint" in last
    )
    assert "these have the largest gradients: example 60 (tokens: " in last
    assert (
        f'in target): "{LONG_SENTENCE.strip()} ||| {LONG_SENTENCE.strip()}". `seqx replay runs/tiny ' in last
    )
    assert " --exact` shows all its sentences, their losses and gradients. Correct them" in last
    assert last.count("example ") == 1
    assert message.count("rolling back to the checkpoint") == returns
    assert message.count(" --undone` shows the sentences)") == returns


@pytest.mark.promise("skipped-updates-are-counted")
def test_single_nonfinite_updates_are_skipped_and_counted() -> None:
    run = Path("runs/tiny")
    done("run", recipe("max_length: 24"), *SETTINGS, "training.max_nonfinite=1", "training.steps=15")
    updates = lines(run, "update")
    assert 1 <= sum(row["skipped"] for row in updates) <= 5
    assert all((row["loss"] == "NaN") == (row["skipped"] == 1) for row in updates)
    assert "gradient not finite" in (run / "log.txt").read_text(encoding="utf-8")
    assert not (run / "skipped_batches.json").exists()


@pytest.mark.promise("rollback-after-spike")
def test_run_rolls_back_after_a_spike() -> None:
    run = Path("runs/tiny")
    done(
        "run", recipe("max_length: 24, grow: 1000"), *SETTINGS,
        "training.spike={norm: 10, loss: 100, updates: 1, window: 3}", "training.max_rollbacks=9",
        "training.steps=15",
    )  # fmt: skip
    recorded = json.loads((run / "skipped_batches.json").read_text(encoding="utf-8"))["returns"]
    assert {rollback["why"] for rollback in recorded} == {"spike"}
    assert all(row["loss"] < 50 for row in lines(run, "update"))
    assert (
        "the loss or the gradient was far above the median (training.spike); rolling"
        in rollback_messages(run)[0]
    )


@pytest.mark.promise("out-of-memory-in-run")
def test_out_of_memory_error_does_not_change_losses() -> None:
    settings = ("training.steps=4", "model.encoder.dropout=0", "model.decoder.dropout=0")
    done("run", recipe("most: 9999"), *settings)
    done("run", recipe("most: 3", "small.yaml"), *settings)
    ample, limited = (
        [row["loss"] for row in lines(Path("runs") / name, "update")] for name in ("tiny", "small")
    )
    assert limited == pytest.approx(ample, rel=1e-5)
    log = Path("runs/small/log.txt").read_text(encoding="utf-8")
    assert (
        log.count("update 1 did not fit into memory, and was computed again with smaller microbatches") == 1
    )
    assert log.count("computed again") == 1


@pytest.mark.promise("too-long-sentence-is-named")
def test_example_that_does_not_fit_into_memory_is_named() -> None:
    message = refused("run", recipe("most: 0"), "training.steps=4").splitlines()[-1]
    assert message.startswith("update 1: cpu is out of memory with a single example: example ")
    assert " ||| the " in message
    assert message.endswith(
        "or leave out long examples (with the task's setting `max_length`, if it has one)"
    )


@pytest.mark.promise("out-of-memory-in-run")
@pytest.mark.parametrize(
    ("owner", "name", "error"),
    [  # while states are collected, copied to the CPU, and written
        (torch.optim.Adam, "state_dict", torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")),
        (state_dict, "_encoded", RuntimeError("DefaultCPUAllocator: can't allocate memory")),
        (state_dict, "save_file", MemoryError()),
        (checkpoints, "save_model", torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")),
    ],
)
def test_out_of_memory_while_saving_keeps_older_checkpoints(
    *, owner: object, name: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Path("runs/tiny")
    recipe_file = tiny(TINY)
    real = getattr(owner, name)

    def without_memory(*arguments: Any, **options: Any) -> Any:
        if (run / "checkpoints" / "00000002").is_dir():
            raise error
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, without_memory)
        message = refused("run", recipe_file).splitlines()[-1]
    reason = f" ({error})" if str(error) else ""
    assert message.removeprefix("Error: ") == (
        f"{run}/checkpoints/00000004: out of memory while the checkpoint is saved{reason}; older checkpoints "
        "are kept: free memory, or set a smaller training.microbatch, and run the same command again"
    )
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["00000002"]
    done("run", recipe_file)
