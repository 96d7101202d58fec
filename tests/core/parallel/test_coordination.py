"""All ranks react alike if one is out of memory, gets a signal, diverges or has a damaged checkpoint."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from seqx.interfaces.tensors import Batch
from seqx.parallel import World
from seqx.parallel.parallelism import Step
from seqx.runtime.signals import Stopped, StopRequest
from seqx.storage.weights import WEIGHTS
from seqx.testing.ranks import RankExit, run_on_ranks
from seqx_training import InverseSquareRoot
from tests.core.parallel.test_training import CLOSE, losses, train, train_on_ranks
from tests.stories.tiny import lines

Sums = dict[str, Tensor]


def train_altered(
    folder: Path, change: Callable[[int, int, Any, Sums], Sums], *settings: str, stops: bool = False
) -> list[RankExit]:
    """Train on two ranks with changed sums of the objective; return the exits of the ranks.

    Args:
        folder: the folder of the run
        change: returns the new sums, given the rank, the number of batches computed so far, the batch, and
            its sums; the first batch is a dummy example that fixes the order in which gradients are added
        settings: settings of the recipe
        stops: if `change` returns no sums, the rank gets SIGTERM; its result is then the name of the signal
    """

    def on_rank(world: World) -> Any:
        forward, calls, stop = Step.forward, 0, StopRequest()

        def changed_forward(step: Step, batch: Any) -> Sums:
            nonlocal calls
            calls += step.training
            sums = change(world.rank, calls if step.training else 0, batch, dict(forward(step, batch)))
            if not sums and stops:
                stop.signal = signal.SIGTERM
                sums = dict(forward(step, batch))
            return sums

        Step.forward = changed_forward  # type: ignore[method-assign, assignment]  # this process ends afterwards
        try:
            return train(world, folder, "run", *settings, stop=stop)
        except Stopped as stopped:
            return str(stopped)

    for rank in (0, 1):
        (folder / f"{rank}").mkdir(exist_ok=True)
    exits = run_on_ranks(2, on_rank, folder)
    assert [each.code for each in exits] == [0, 0], exits
    return exits


@pytest.fixture(scope="module")
def reference_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The folder and the scores of a run on two ranks without faults."""
    folder = tmp_path_factory.mktemp("reference_run")
    return folder / "run", train_on_ranks(2, folder, "run")[0]


@pytest.mark.promise("out-of-memory-on-one-rank")
def test_all_ranks_retry_after_one_runs_out_of_memory(
    reference_run: tuple[Path, Any], tmp_path: Path
) -> None:
    def run_out_of_memory(rank: int, calls: int, batch: Any, sums: Sums) -> Sums:
        padded_tokens = sum(column.values.numel() for column in batch.columns.values())
        if calls and rank == 1 and padded_tokens > 140:
            raise torch.OutOfMemoryError("no more")
        return sums

    exits = train_altered(tmp_path, run_out_of_memory, "training.microbatch=100")
    assert losses(tmp_path / "run") == pytest.approx(losses(reference_run[0]), rel=CLOSE)
    assert [each.result for each in exits] == [reference_run[1]] * 2
    (warning,) = lines(tmp_path / "run", "noticed")
    assert "was computed again with smaller microbatches" in warning["what"]


class OomInBackward(torch.autograd.Function):
    """The identity function; its next `due` backward passes run out of memory."""

    due = 0

    @staticmethod
    def forward(_: Any, embedded: Tensor) -> Tensor:
        return embedded.clone()

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        if OomInBackward.due:
            OomInBackward.due -= 1
            raise torch.OutOfMemoryError("no more")
        return gradient


@pytest.mark.promise("out-of-memory-on-one-rank")
@pytest.mark.parametrize("in_pass", ["forward", "backward"])
def test_all_ranks_retry_after_one_runs_out_of_memory_during_gradient_sync(
    in_pass: str, reference_run: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the backward pass, the gradients of some layers have already been sent to the other rank."""
    embedding, may_run_out = (
        torch.nn.functional.embedding,
        cast("Callable[[Tensor], Tensor]", OomInBackward.apply),
    )
    monkeypatch.setattr(
        "torch.nn.functional.embedding", lambda *args, **kwargs: may_run_out(embedding(*args, **kwargs))
    )
    small_buckets = partial(DistributedDataParallel, bucket_cap_mb=0.01)
    monkeypatch.setattr("seqx.parallel.ddp.DistributedDataParallel", small_buckets)
    due_calls = [2, 5, 6, 9]

    def run_out_of_memory(rank: int, calls: int, batch: Any, sums: Sums) -> Sums:
        if rank == 1 and due_calls and calls >= due_calls[0] and len(batch.columns["target"].values) > 1:
            del due_calls[0]
            if in_pass == "forward":
                raise torch.OutOfMemoryError("no more")
            OomInBackward.due = 1
        return sums

    exits = train_altered(tmp_path, run_out_of_memory)
    assert losses(tmp_path / "run") == pytest.approx(losses(reference_run[0]), rel=CLOSE)
    assert [each.result for each in exits] == [reference_run[1]] * 2
    assert len(lines(tmp_path / "run", "noticed")) == 1


@pytest.mark.promise("out-of-memory-on-one-rank")
def test_all_ranks_retry_after_one_runs_out_of_memory_for_a_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second update is tested: before its first forward pass, torch rebuilds the buckets on all ranks."""
    to, calls = Batch.to, 0

    def run_out_of_memory(batch: Batch, device: torch.device) -> Batch:
        nonlocal calls
        calls += 1
        if calls == 3 and os.environ["RANK"] == "1":
            raise torch.OutOfMemoryError("no more")
        return to(batch, device)

    settings = ("training.tokens=150", "training.steps=3")
    train_on_ranks(2, tmp_path, "reference_run", *settings)
    monkeypatch.setattr(Batch, "to", run_out_of_memory)
    train_altered(tmp_path, lambda _rank, _calls, _batch, sums: sums, *settings)
    assert losses(tmp_path / "run") == pytest.approx(losses(tmp_path / "reference_run"), rel=CLOSE)
    *_, warning = lines(tmp_path / "run", "noticed")
    assert warning["what"].startswith("update 2 did not fit into memory")


@pytest.mark.promise("signal-on-one-rank")
def test_signal_to_one_rank_stops_all(reference_run: tuple[Path, Any], tmp_path: Path) -> None:
    def ask_to_stop(rank: int, calls: int, batch: Any, sums: Sums) -> Sums:
        del batch
        return {} if (rank, calls) == (1, 5) else sums

    exits = train_altered(tmp_path, ask_to_stop, stops=True)
    assert [each.result for each in exits] == ["SIGTERM"] * 2
    assert [path.name for path in sorted((tmp_path / "run" / "checkpoints").iterdir())][-1] == "00000004"
    train_on_ranks(2, tmp_path, "run")
    assert losses(tmp_path / "run") == losses(reference_run[0])


@pytest.mark.promise("rollback-on-all-ranks")
def test_all_ranks_roll_back_after_nonfinite_updates(tmp_path: Path) -> None:
    def nan_sums(rank: int, calls: int, batch: Any, sums: Sums) -> Sums:
        del batch
        return {name: term * torch.nan for name, term in sums.items()} if (rank, calls) == (1, 6) else sums

    exits = train_altered(tmp_path, nan_sums, "training.max_nonfinite=0")
    assert exits[0].result == exits[1].result
    (rollback,) = json.loads((tmp_path / "run" / "skipped_batches.json").read_text(encoding="utf-8"))[
        "returns"
    ]
    assert (rollback["from"], rollback["to"], len(rollback["batches"])) == (5, 3, 1)


@pytest.mark.promise("rollback-on-all-ranks")
def test_all_ranks_roll_back_if_the_model_cannot_be_validated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Update 3 makes the weights so large that the logits of the validation after update 4 are not finite."""
    rate, broken = InverseSquareRoot.__call__, iter([1e30])

    def rate_or_broken(schedule: InverseSquareRoot, step: int, steps: int) -> float:
        return next(broken, 0.0) if step == 3 else rate(schedule, step, steps)

    monkeypatch.setattr(InverseSquareRoot, "__call__", rate_or_broken)
    scores = train_on_ranks(2, tmp_path, "run", "training.save_every=2")
    assert scores[0] == scores[1]
    (notice,) = lines(tmp_path / "run", "noticed")
    assert notice["what"].startswith("update 4 ")
    assert "; rolling back to the checkpoint of update 2, and skipping the batch of 1 " in notice["what"]


@pytest.mark.promise("damaged-checkpoint-on-all-ranks")
def test_all_ranks_ignore_a_damaged_checkpoint(reference_run: tuple[Path, Any], tmp_path: Path) -> None:
    shutil.copytree(reference_run[0], tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "model")
    weights = tmp_path / "run" / "checkpoints" / "00000005" / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1])
    train_on_ranks(2, tmp_path, "run")
    assert losses(tmp_path / "run") == losses(reference_run[0])
    assert (tmp_path / "run" / "checkpoints" / "00000005.damaged").is_dir()
