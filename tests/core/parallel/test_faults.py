"""A process that raises, hangs or is killed ends the run on all, and one message says which and how."""

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
from seqx.parallel import World, join_ranks
from seqx.parallel.ddp import DDP
from seqx.parallel.strategy import Step
from tests.core.parallel.crew import Left, crew
from tests.core.parallel.test_training import trained, updates

PROMISED = 30
"""Seconds within which all processes are gone."""


def broken(world: World, folder: Path, rank: int, fault: Callable[[], None], settings: Sequence[str]) -> Any:
    """A run in which one process has a fault in its eighth update."""
    forward, calls = Step.forward, 0

    def failing(step: Step, batch: Any) -> Any:
        nonlocal calls
        calls += 1
        if world.rank == rank and calls == 8 + (not settings):
            (folder / "when").write_text(str(time.time()), encoding="utf-8")
            fault()
        return forward(step, batch)

    Step.forward = failing  # type: ignore[method-assign, assignment]  # in a process that ends with this
    (folder / f"{world.rank}").mkdir(exist_ok=True)
    return trained(world, folder, "run", *settings)


def ended(size: int, folder: Path, rank: int, fault: Callable[[], None], *settings: str) -> list[Left]:
    """Return the ends of the processes of a run, which must not take long."""
    job = partial(broken, folder=folder, rank=rank, fault=fault, settings=settings)
    left = crew(size, job, folder, agent=True)
    seconds = time.time() - float((folder / "when").read_text(encoding="utf-8"))
    assert seconds < PROMISED
    return left


def refuse() -> None:
    raise UserError("sentence 17: cannot be read; mend it")


def trip() -> None:
    raise RuntimeError("tripped")


def run_out() -> None:
    raise torch.OutOfMemoryError("no more")


@pytest.mark.promise("error-on-one-rank")
@pytest.mark.parametrize(
    ("rank", "fault", "settings", "code", "message"),
    [
        (0, refuse, (), 2, "sentence 17: cannot be read; mend it\n"),
        (2, trip, (), 1, "RuntimeError: tripped\n"),
        (1, run_out, ("training.sharding=full",), 71, "update 8: cpu is out of memory with "),
    ],
)
def test_error_of_one_rank_ends_all(
    rank: int,
    fault: Callable[[], None],
    settings: Sequence[str],
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("seqx.parallel.heartbeat.GRACE_S", 2.0)
    left = ended(3, tmp_path, rank, fault, *settings)

    assert message in left[rank].said
    assert [each.said for other, each in enumerate(left) if other != rank] == ["", ""]
    assert [each.code for each in left] == [code] * 3


@pytest.mark.parametrize(
    ("microbatch", "code", "message"),
    [
        ("4096", 71, "update 8: cpu is out of memory with "),
        (
            "1",
            2,
            "update 8: cpu is out of memory: the model and its gradients do not fit; make the model smaller",
        ),
    ],
)
def test_out_of_memory_outside_of_a_microbatch_restarts_all_ranks(
    microbatch: str, code: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All are to begin again in smaller parts, as long as there are any."""
    agreed, calls = DDP.global_counts, 0

    def narrow(strategy: DDP, parts: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 9 and os.environ["RANK"] == "1":
            raise torch.OutOfMemoryError("no more")
        return agreed(strategy, parts)

    monkeypatch.setattr(DDP, "global_counts", narrow)
    monkeypatch.setattr("seqx.parallel.heartbeat.GRACE_S", 2.0)
    for rank in range(2):
        (tmp_path / f"{rank}").mkdir()
    how = f"training.microbatch={microbatch}"
    left = crew(2, lambda world: trained(world, tmp_path, "run", how), tmp_path, agent=True)
    assert message in left[1].said
    assert [each.code for each in left] == [code, code]


@pytest.mark.promise("parameters-without-gradient")
def test_parameter_without_gradient_on_one_rank_is_named(tmp_path: Path) -> None:
    """In one update only; the others would wait for its gradient for ever."""

    def job(world: World) -> Any:
        init, forward, calls = Step.__init__, Step.forward, 0

        def larger(step: Step, *given: Any) -> None:
            init(step, *given)
            step.more = torch.nn.Linear(1, 1, bias=False)

        def learning(step: Step, batch: Any) -> Any:
            nonlocal calls
            calls += step.training
            sums = dict(forward(step, batch))
            if not (step.training and world.rank == 1 and calls == 4):
                sums["loss"] = sums["loss"] + 0 * step.more.weight.sum()  # type: ignore[operator, union-attr]
            return sums

        Step.__init__ = larger  # type: ignore[method-assign, assignment]  # in a process that ends with this
        Step.forward = learning  # type: ignore[method-assign, assignment]
        (tmp_path / f"{world.rank}").mkdir(exist_ok=True)
        return trained(world, tmp_path, "run")

    left = crew(2, job, tmp_path, agent=True)
    assert "training.objective: no gradient for more.weight (1 in all)" in left[1].said
    assert [each.code for each in left] == [2, 2]


@pytest.mark.promise("killed-rank")
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGSTOP])
def test_killed_or_stopped_rank_is_named(
    sign: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if sign == signal.SIGSTOP:  # the other case waits as long as seqx does
        monkeypatch.setattr("seqx.parallel.heartbeat.DEAD_AFTER_S", 4.0)
    left = ended(3, tmp_path, 1, lambda: os.kill(os.getpid(), sign))

    # Torch's own threads may complain of a connection that broke.
    lines = [line for each in left for line in each.said.splitlines()]
    told = [line for line in lines if line.startswith("rank ")]
    assert len(told) == 1, left
    assert told[0].startswith("rank 1 (")
    assert ") sent no heartbeat for " in told[0]
    assert "so it was killed or stopped; check its machine" in told[0]
    assert [each.code for each in left] == [1, -signal.SIGKILL, 1]


@pytest.mark.promise("killed-rank")
def test_rank_killed_right_after_joining_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqx.parallel.heartbeat.DEAD_AFTER_S", 2.0)

    def job(world: World) -> None:
        world.barrier()
        if world.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        world.barrier()

    left = crew(3, job, tmp_path, agent=True)
    told = [line for each in left for line in each.said.splitlines() if line.startswith("rank 1 (")]
    assert len(told) == 1, left
    assert [each.code for each in left] == [1, -signal.SIGKILL, 1]


@pytest.mark.promise("hang-in-update")
def test_hanging_rank_is_named(tmp_path: Path) -> None:
    left = ended(2, tmp_path, 1, lambda: time.sleep(1000))

    assert left[0].said.startswith("rank 1 (")
    assert ") has computed its part of an update for " in left[0].said
    assert " s: it hangs; its traceback shows where." in left[0].said
    assert "test_faults.py" in left[1].said  # where it hangs
    assert [each.code for each in left] == [1, 1]


@pytest.mark.promise("hang-with-shards")
def test_hanging_rank_with_shards_shows_all_tracebacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With shards nobody can say who it is: all show where they are."""
    monkeypatch.setattr(
        "seqx.parallel.heartbeat.HANG_AFTER_S", 6.0
    )  # test_hanging_rank_is_named waits as long as seqx does

    def doze() -> None:
        time.sleep(1000)

    left = ended(3, tmp_path, 1, doze, "training.sharding=full")

    told = [each.said for each in left if "has computed its part of an update" in each.said]
    assert len(told) == 1
    assert ": it or a rank that it waits for hangs; the tracebacks of all ranks show where." in told[0]
    assert ["in doze" in each.said for each in left] == [False, True, False]
    assert all("Current thread" in each.said or "Thread 0x" in each.said for each in left)
    assert [each.code for each in left] == [1, 1, 1]


@pytest.mark.promise("slow-save-or-validation")
def test_ranks_that_wait_long_are_not_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first update, validating, saving and preparing may take any time, and so may waiting for them."""
    monkeypatch.setattr("seqx.parallel.heartbeat.DEAD_AFTER_S", 1.0)
    monkeypatch.setattr("seqx.parallel.heartbeat.HANG_AFTER_S", 0.5)
    monkeypatch.setattr("seqx.parallel.heartbeat.BEAT_EVERY_S", 0.1)

    def job(world: World) -> list[int]:
        for number in range(3):
            world.enter_stage("update")
            world.barrier()
            time.sleep(2 if world.is_rank_zero and not number else 0.01)
            world.barrier()
        world.enter_stage("saving")
        if world.is_rank_zero:
            time.sleep(3)
        return world.all_gather(world.rank)

    left = crew(2, job, tmp_path)
    assert [each.answer for each in left] == [[0, 1]] * 2
    assert [each.said for each in left] == ["", ""]


@pytest.mark.promise("slow-planning")
def test_slow_planning_of_an_epoch_does_not_count_as_hanging(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seqx.parallel.heartbeat.HANG_AFTER_S", 2.0)
    monkeypatch.setattr("seqx.parallel.heartbeat.BEAT_EVERY_S", 0.1)

    def planning(*given: Any, epoch: int, **named: Any) -> Plan:
        time.sleep(6 * (epoch == 1))
        return plan(*given, epoch=epoch, **named)

    monkeypatch.setattr("seqx.data.batches.plan", planning)
    for rank in range(2):
        (tmp_path / f"{rank}").mkdir()
    left = crew(2, lambda world: trained(world, tmp_path, "run"), tmp_path)
    assert [each.code for each in left] == [0, 0], left
    assert max(row["seconds"] for row in updates(tmp_path / "run")) > 3


@pytest.mark.parametrize(
    "environment",
    [
        {"RANK": "0", "WORLD_SIZE": "two", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"},
        {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "door"},
        {"RANK": "1", "WORLD_SIZE": "2"},
    ],
)
def test_wrong_environment_of_torchrun_is_one_message(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="they do not lead to the other ranks"), join_ranks("cpu"):
        pass


@pytest.mark.promise("straggler-is-named")
def test_straggler_is_named(tmp_path: Path) -> None:
    def job(world: World) -> Any:
        forward = Step.forward

        def slow(step: Step, batch: Any) -> Any:
            if world.rank == 1:
                time.sleep(0.3)
            return forward(step, batch)

        Step.forward = slow  # type: ignore[method-assign, assignment]  # in a process that ends with this
        (tmp_path / f"{world.rank}").mkdir(exist_ok=True)
        return trained(world, tmp_path, "run")

    left = crew(3, job, tmp_path)
    assert [each.code for each in left] == [0] * 3
    (named,) = [line for line in left[0].said.splitlines() if "straggler" in line]
    assert named.startswith("rank 1 is a straggler: its part of an update takes 0.")
    assert named.endswith("all ranks wait for it; check the load of its machine and its device")
    assert (left[1].said, left[2].said) == ("", "")
