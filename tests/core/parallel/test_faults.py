"""If a rank fails, hangs or is killed, all ranks end, and one message names the rank and the cause."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from seqx.data.plan import Plan, plan
from seqx.errors import UserError
from seqx.parallel import World, heartbeat, join_ranks, mailbox
from seqx.parallel.ddp import DDP
from seqx.parallel.parallelism import Step
from seqx.testing.ranks import RankExit, run_on_ranks
from tests.core.parallel.test_training import train, updates
from tests.stories.tiny import lines

PROMISED_S = 30
"""Seconds within which all ranks have ended."""

DEAD_S, HANG_S = 4.0, 5.0
"""Limits for heartbeats and updates in these tests, in seconds; those of seqx count for PROMISED_S."""


def train_with_fault(
    world: World, folder: Path, rank: int, fault: Callable[[], None], settings: Sequence[str]
) -> Any:
    """Train, and call `fault` on one rank in its fourth update, after a checkpoint; return the scores."""
    forward, calls = Step.forward, 0

    def forward_with_fault(step: Step, batch: Any) -> Any:
        nonlocal calls
        calls += 1
        if world.rank == rank and calls == 4 + (not settings):
            (folder / "time_of_fault").write_text(str(time.time()), encoding="utf-8")
            fault()
        return forward(step, batch)

    Step.forward = forward_with_fault  # type: ignore[method-assign, assignment]  # this process ends afterwards
    (folder / f"{world.rank}").mkdir(exist_ok=True)
    return train(world, folder, "run", *settings)


def exits_after_fault(
    size: int, folder: Path, rank: int, fault: Callable[[], None], *settings: str, saved: float = 0
) -> list[RankExit]:
    """Return the exits of all ranks of a run with a fault; check that they end in time.

    `saved` is the number of seconds by which the test has shortened a limit.
    """
    on_rank = partial(train_with_fault, folder=folder, rank=rank, fault=fault, settings=settings)
    exits = run_on_ranks(size, on_rank, folder, separate_store=True)
    seconds = time.time() - float((folder / "time_of_fault").read_text(encoding="utf-8"))
    assert seconds + saved < PROMISED_S
    return exits


TOUCH_AT_END = """\
import seqx

@seqx.hookimpl
def seqx_register(registry): pass

@seqx.hookimpl
def seqx_run_ended(folder): (folder / "end").touch()
"""


def reported_failures(folder: Path) -> list[str]:
    """Return the messages that the callbacks of rank 0 received about the end of the run."""
    return [row["message"] for row in lines(folder / "run", "failed")]


def raise_user_error() -> None:
    raise UserError("sentence 17: cannot be read; correct it")


def raise_runtime_error() -> None:
    raise RuntimeError("failed")


def raise_oom() -> None:
    raise torch.OutOfMemoryError("no more")


@pytest.mark.promise("error-on-one-rank")
@pytest.mark.parametrize(
    ("size", "rank", "fault", "settings", "code", "message"),
    [
        (2, 0, raise_user_error, (), 2, "sentence 17: cannot be read; correct it\n"),
        (3, 2, raise_runtime_error, (), 1, "RuntimeError: failed\n"),
        (2, 1, raise_oom, ("training.parallel=fsdp",), 71, "update 4: cpu is out of memory with "),
    ],
)
def test_error_of_one_rank_ends_all(
    size: int,
    rank: int,
    fault: Callable[[], None],
    settings: Sequence[str],
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("seqx.parallel.heartbeat.GRACE_S", 2.0)
    (tmp_path / "plugin.py").write_text(TOUCH_AT_END, encoding="utf-8")
    exits = exits_after_fault(size, tmp_path, rank, fault, *settings)

    assert message in exits[rank].stderr
    assert [each.stderr for other, each in enumerate(exits) if other != rank] == [""] * (size - 1)
    assert [each.code for each in exits] == [code] * size
    (reported,) = reported_failures(tmp_path)
    assert (message.strip() in reported) if rank == 0 else reported == f"rank {rank} failed, and printed why"
    assert (tmp_path / "run" / "end").is_file()


@pytest.mark.promise("error-on-one-rank")
@pytest.mark.parametrize(("failing", "delay"), [([1], 0), ([0, 1], 0), ([0, 1], 1.45)])
def test_rank_0_has_time_to_report_the_end(
    failing: Sequence[int], delay: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Callbacks may be slow. Rank 0 reports only once: its own error, unless it fails while it reports."""
    monkeypatch.setattr("seqx.parallel.heartbeat.GRACE_S", 0.2)

    def report(error: BaseException) -> None:
        with (tmp_path / "reported").open("a", encoding="utf-8", buffering=1) as file:
            file.write(f"{error}\n")
            time.sleep(1.5)
            file.write("reported\n")

    def on_rank(world: World) -> None:
        if world.is_rank_zero:
            world.report_end_to(report)
        world.barrier()
        if world.rank not in failing:
            world.barrier()
        if world.is_rank_zero:
            time.sleep(delay)
        error = UserError("sentence 17: cannot be read; correct it")
        world.record_end(error)
        if world.is_rank_zero:
            report(error)
        raise error

    exits = run_on_ranks(2, on_rank, tmp_path, separate_store=True)
    assert [each.code for each in exits] == [2, 2]
    is_own = 0 in failing and delay == 0
    reported = "sentence 17: cannot be read; correct it" if is_own else "rank 1 failed, and printed why"
    assert (tmp_path / "reported").read_text(encoding="utf-8") == f"{reported}\nreported\n"


@pytest.mark.parametrize(
    ("microbatch", "code", "message"),
    [
        ("4096", 71, "update 4: cpu is out of memory with "),
        (
            "1",
            2,
            "update 4: cpu is out of memory: the model and its gradients do not fit; make the model smaller",
        ),
    ],
)
def test_out_of_memory_outside_of_a_microbatch_restarts_all_ranks(
    microbatch: str, code: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The restarted ranks use smaller microbatches. Single examples cannot be split; the run then fails."""
    global_counts, calls = DDP.global_counts, 0

    def run_out_of_memory(strategy: DDP, batches: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 5 and os.environ["RANK"] == "1":
            raise torch.OutOfMemoryError("no more")
        return global_counts(strategy, batches)

    monkeypatch.setattr(DDP, "global_counts", run_out_of_memory)
    monkeypatch.setattr("seqx.parallel.heartbeat.GRACE_S", 2.0)
    for rank in range(2):
        (tmp_path / f"{rank}").mkdir()
    setting = f"training.microbatch={microbatch}"
    exits = run_on_ranks(
        2, lambda world: train(world, tmp_path, "run", setting), tmp_path, separate_store=True
    )
    assert message in exits[1].stderr
    assert [each.code for each in exits] == [code, code]


@pytest.mark.promise("parameters-without-gradient")
def test_parameter_without_gradient_on_one_rank_is_named(tmp_path: Path) -> None:
    """The gradient is missing in one update; without the check the other ranks would wait for ever."""

    def on_rank(world: World) -> Any:
        init, forward, calls = Step.__init__, Step.forward, 0

        def with_extra_layer(step: Step, *args: Any) -> None:
            init(step, *args)
            step.extra = torch.nn.Linear(1, 1, bias=False)

        def use_extra_layer(step: Step, batch: Any) -> Any:
            nonlocal calls
            calls += step.training
            sums = dict(forward(step, batch))
            if not (step.training and world.rank == 1 and calls == 4):
                sums["loss"] = sums["loss"] + 0 * step.extra.weight.sum()  # type: ignore[operator, union-attr]
            return sums

        Step.__init__ = with_extra_layer  # type: ignore[method-assign, assignment]  # this process ends afterwards
        Step.forward = use_extra_layer  # type: ignore[method-assign, assignment]
        (tmp_path / f"{world.rank}").mkdir(exist_ok=True)
        return train(world, tmp_path, "run")

    exits = run_on_ranks(2, on_rank, tmp_path, separate_store=True)
    assert "training.objective: no gradient for extra.weight (1 in all)" in exits[1].stderr
    assert [each.code for each in exits] == [2, 2]


@pytest.mark.promise("killed-rank")
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGSTOP])
def test_killed_or_stopped_rank_is_named(
    sign: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = mailbox.DEAD_AFTER_S - DEAD_S
    monkeypatch.setattr("seqx.parallel.heartbeat.DEAD_AFTER_S", DEAD_S)
    exits = exits_after_fault(3, tmp_path, 1, lambda: os.kill(os.getpid(), sign), saved=saved)

    # Torch's own threads may also print that a connection was lost.
    printed = [line for each in exits for line in each.stderr.splitlines()]
    messages = [line for line in printed if line.startswith("rank ")]
    assert len(messages) == 1, exits
    assert messages[0].startswith("rank 1 (")
    assert ") sent no heartbeat for " in messages[0]
    assert "so it was killed or stopped; check its machine" in messages[0]
    assert [each.code for each in exits] == [1, -signal.SIGKILL, 1]
    assert reported_failures(tmp_path) == messages


@pytest.mark.promise("killed-rank")
def test_rank_killed_right_after_joining_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqx.parallel.heartbeat.DEAD_AFTER_S", 2.0)

    def on_rank(world: World) -> None:
        world.barrier()
        if world.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        world.barrier()

    exits = run_on_ranks(3, on_rank, tmp_path, separate_store=True)
    printed = [line for each in exits for line in each.stderr.splitlines()]
    assert sum(line.startswith("rank 1 (") for line in printed) == 1, exits
    assert [each.code for each in exits] == [1, -signal.SIGKILL, 1]


@pytest.mark.promise("hang-in-update")
def test_hanging_rank_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = heartbeat.HANG_AFTER_S - HANG_S
    monkeypatch.setattr("seqx.parallel.heartbeat.HANG_AFTER_S", HANG_S)
    exits = exits_after_fault(2, tmp_path, 1, lambda: time.sleep(1000), saved=saved)

    assert exits[0].stderr.startswith("rank 1 (")
    assert ") has computed its part of an update for " in exits[0].stderr
    assert " s: it hangs; its traceback shows where." in exits[0].stderr
    assert "test_faults.py" in exits[1].stderr  # the traceback of the hanging rank
    assert reported_failures(tmp_path) == exits[0].stderr.splitlines()
    assert [each.code for each in exits] == [1, 1]


@pytest.mark.promise("hang-with-shards")
def test_hanging_rank_with_shards_shows_all_tracebacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In sharded training all ranks wait for each other, so it is unknown which rank hangs."""
    saved = heartbeat.HANG_AFTER_S - HANG_S
    monkeypatch.setattr("seqx.parallel.heartbeat.HANG_AFTER_S", HANG_S)

    def hang() -> None:
        time.sleep(1000)

    exits = exits_after_fault(2, tmp_path, 1, hang, "training.parallel=fsdp", saved=saved)

    messages = [each.stderr for each in exits if "has computed its part of an update" in each.stderr]
    assert len(messages) == 1
    assert ": it or a rank that it waits for hangs; the tracebacks of all ranks show where." in messages[0]
    assert ["in hang" in each.stderr for each in exits] == [False, True]
    assert all("Current thread" in each.stderr or "Thread 0x" in each.stderr for each in exits)
    assert [each.code for each in exits] == [1, 1]


@pytest.mark.promise("slow-save-or-validation")
def test_ranks_that_wait_long_are_not_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no time limit on the first update, on work outside of updates, and on waiting for a rank."""
    monkeypatch.setattr("seqx.parallel.heartbeat.DEAD_AFTER_S", 1.0)
    monkeypatch.setattr("seqx.parallel.heartbeat.HANG_AFTER_S", 0.5)
    monkeypatch.setattr("seqx.parallel.heartbeat.BEAT_EVERY_S", 0.1)

    def on_rank(world: World) -> list[int]:
        for number in range(3):
            world.enter_stage("update")
            world.barrier()
            time.sleep(2 if world.is_rank_zero and not number else 0.01)
            world.barrier()
        world.enter_stage("saving")
        if world.is_rank_zero:
            time.sleep(3)
        return world.all_gather(world.rank)

    exits = run_on_ranks(2, on_rank, tmp_path)
    assert [each.result for each in exits] == [[0, 1]] * 2
    assert [each.stderr for each in exits] == ["", ""]


@pytest.mark.promise("slow-planning")
def test_slow_planning_of_an_epoch_does_not_count_as_hanging(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seqx.parallel.heartbeat.HANG_AFTER_S", 2.0)
    monkeypatch.setattr("seqx.parallel.heartbeat.BEAT_EVERY_S", 0.1)

    def slow_plan(*args: Any, epoch: int, **kwargs: Any) -> Plan:
        time.sleep(6 * (epoch == 1))
        return plan(*args, epoch=epoch, **kwargs)

    monkeypatch.setattr("seqx.data.batches.plan", slow_plan)
    for rank in range(2):
        (tmp_path / f"{rank}").mkdir()
    settings = ("training.tokens=900", "training.steps=4")  # an epoch has three updates
    exits = run_on_ranks(2, lambda world: train(world, tmp_path, "run", *settings), tmp_path)
    assert [each.code for each in exits] == [0, 0], exits
    assert max(row["seconds"] for row in updates(tmp_path / "run")) > 3


@pytest.mark.parametrize(
    "environment",
    [
        {"RANK": "0", "WORLD_SIZE": "two", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"},
        {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "word"},
        {"RANK": "1", "WORLD_SIZE": "2"},
    ],
)
def test_wrong_environment_of_torchrun_is_reported(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="they do not lead to the other ranks"), join_ranks("cpu"):
        pass


@pytest.mark.promise("straggler-is-named")
def test_straggler_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqx.parallel.stragglers.WINDOW", 4)

    def on_rank(world: World) -> Any:
        forward = Step.forward

        def slow_forward(step: Step, batch: Any) -> Any:
            if world.rank == 1:
                time.sleep(0.3)
            return forward(step, batch)

        Step.forward = slow_forward  # type: ignore[method-assign, assignment]  # this process ends afterwards
        (tmp_path / f"{world.rank}").mkdir(exist_ok=True)
        return train(world, tmp_path, "run")

    exits = run_on_ranks(3, on_rank, tmp_path)
    assert [each.code for each in exits] == [0] * 3
    (warning,) = [line for line in exits[0].stderr.splitlines() if "straggler" in line]
    assert warning.startswith("rank 1 is a straggler: its part of an update takes 0.")
    assert warning.endswith("all ranks wait for it; check the load of its machine and its device")
    assert (exits[1].stderr, exits[2].stderr) == ("", "")
