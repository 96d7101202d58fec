"""All ranks react together if one is out of memory, gets a signal, diverges or finds a damaged checkpoint."""

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
from seqx.parallel.strategy import Step
from seqx.runtime.signals import Stopped, StopRequest
from seqx.storage.weights import WEIGHTS
from tests.core.parallel.crew import Left, crew
from tests.core.parallel.test_training import CLOSE, losses, spread, trained
from tests.stories.tiny import lines

Sums = dict[str, Tensor]


def altered(
    folder: Path, change: Callable[[int, int, Any, Sums], Sums], *settings: str, stops: bool = False
) -> list[Left]:
    """Two processes that train; `change` gets the rank, how many batches were computed, one, and its sums.

    The first batch is the one by which the exchange of gradients is settled.

    With `stops` a process whose sums are none has been asked to stop; it answers where the run stopped.
    """

    def job(world: World) -> Any:
        forward, calls, stop = Step.forward, 0, StopRequest()

        def other(step: Step, batch: Any) -> Sums:
            nonlocal calls
            calls += step.training
            found = change(world.rank, calls if step.training else 0, batch, dict(forward(step, batch)))
            if not found and stops:
                stop.signal = signal.SIGTERM
                found = dict(forward(step, batch))
            return found

        Step.forward = other  # type: ignore[method-assign, assignment]  # in a process that ends with this
        try:
            return trained(world, folder, "run", *settings, stop=stop)
        except Stopped as stopped:
            return str(stopped)

    for rank in (0, 1):
        (folder / f"{rank}").mkdir(exist_ok=True)
    left = crew(2, job, folder)
    assert [each.code for each in left] == [0, 0], left
    return left


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """Two processes to which nothing happens, and their scores."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return folder / "run", spread(2, folder, "run")[0]


@pytest.mark.promise("out-of-memory-on-one-rank")
def test_all_ranks_retry_after_one_runs_out_of_memory(undisturbed: tuple[Path, Any], tmp_path: Path) -> None:
    def short(rank: int, calls: int, batch: Any, sums: Sums) -> Sums:
        places = sum(column.ids.numel() for column in batch.columns.values())
        if calls and rank == 1 and places > 140:
            raise torch.OutOfMemoryError("no more")
        return sums

    left = altered(tmp_path, short, "training.microbatch=100")
    assert losses(tmp_path / "run") == pytest.approx(losses(undisturbed[0]), rel=CLOSE)
    assert [each.answer for each in left] == [undisturbed[1]] * 2
    (noticed,) = lines(tmp_path / "run", "noticed")
    assert "was computed again with smaller microbatches" in noticed["what"]


class Narrow(torch.autograd.Function):
    """Has too little memory for its backward pass, `due` times."""

    due = 0

    @staticmethod
    def forward(_: Any, embedded: Tensor) -> Tensor:
        return embedded.clone()

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        if Narrow.due:
            Narrow.due -= 1
            raise torch.OutOfMemoryError("no more")
        return gradient


@pytest.mark.promise("out-of-memory-on-one-rank")
@pytest.mark.parametrize("passing", ["forward", "backward"])
def test_all_ranks_retry_after_one_runs_out_of_memory_during_gradient_sync(
    passing: str, undisturbed: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the backward pass: when gradients of a part of the layers have gone to the others."""
    embedding, narrow = torch.nn.functional.embedding, cast("Callable[[Tensor], Tensor]", Narrow.apply)
    monkeypatch.setattr("torch.nn.functional.embedding", lambda *args, **how: narrow(embedding(*args, **how)))
    buckets = partial(DistributedDataParallel, bucket_cap_mb=0.01)
    monkeypatch.setattr("seqx.parallel.ddp.DistributedDataParallel", buckets)
    again = [2, 5, 6, 13]

    def short(rank: int, calls: int, batch: Any, sums: Sums) -> Sums:
        if rank == 1 and again and calls >= again[0] and len(batch.columns["target"].ids) > 1:
            del again[0]
            if passing == "forward":
                raise torch.OutOfMemoryError("no more")
            Narrow.due = 1
        return sums

    left = altered(tmp_path, short)
    assert losses(tmp_path / "run") == pytest.approx(losses(undisturbed[0]), rel=CLOSE)
    assert [each.answer for each in left] == [undisturbed[1]] * 2
    assert len(lines(tmp_path / "run", "noticed")) == 1


@pytest.mark.promise("out-of-memory-on-one-rank")
def test_all_ranks_retry_after_one_runs_out_of_memory_for_a_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the second update, before whose first forward pass torch regroups the gradients of all."""
    to, calls = Batch.to, 0

    def short(batch: Batch, device: torch.device) -> Batch:
        nonlocal calls
        calls += 1
        if calls == 3 and os.environ["RANK"] == "1":
            raise torch.OutOfMemoryError("no more")
        return to(batch, device)

    how = ("training.tokens=150", "training.steps=3")
    spread(2, tmp_path, "undisturbed", *how)
    monkeypatch.setattr(Batch, "to", short)
    altered(tmp_path, lambda _rank, _calls, _batch, sums: sums, *how)
    assert losses(tmp_path / "run") == pytest.approx(losses(tmp_path / "undisturbed"), rel=CLOSE)
    *_, noticed = lines(tmp_path / "run", "noticed")
    assert noticed["what"].startswith("update 2 did not fit into memory")


@pytest.mark.promise("signal-on-one-rank")
def test_signal_to_one_rank_stops_all(undisturbed: tuple[Path, Any], tmp_path: Path) -> None:
    def asked(rank: int, calls: int, batch: Any, sums: Sums) -> Sums:
        del batch
        return {} if (rank, calls) == (1, 8) else sums

    left = altered(tmp_path, asked, stops=True)
    assert [each.answer for each in left] == ["SIGTERM"] * 2
    assert [path.name for path in sorted((tmp_path / "run" / "checkpoints").iterdir())][-1] == "00000007"
    spread(2, tmp_path, "run")
    assert losses(tmp_path / "run") == losses(undisturbed[0])


@pytest.mark.promise("rollback-on-all-ranks")
def test_all_ranks_roll_back_after_nonfinite_updates(tmp_path: Path) -> None:
    def spoilt(rank: int, calls: int, batch: Any, sums: Sums) -> Sums:
        del batch
        return {name: term * torch.nan for name, term in sums.items()} if (rank, calls) == (1, 8) else sums

    left = altered(tmp_path, spoilt, "training.max_nonfinite=0")
    assert left[0].answer == left[1].answer
    (gone,) = json.loads((tmp_path / "run" / "skipped_batches.json").read_text(encoding="utf-8"))["returns"]
    assert (gone["from"], gone["to"], len(gone["batches"])) == (7, 5, 1)


@pytest.mark.promise("damaged-checkpoint-on-all-ranks")
def test_all_ranks_ignore_a_damaged_checkpoint(undisturbed: tuple[Path, Any], tmp_path: Path) -> None:
    spread(2, tmp_path, "run", "training.steps=10")
    shutil.rmtree(tmp_path / "run" / "model")
    weights = tmp_path / "run" / "checkpoints" / "00000010" / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1])
    spread(2, tmp_path, "run")
    assert losses(tmp_path / "run") == losses(undisturbed[0])
    assert (tmp_path / "run" / "checkpoints" / "00000010.damaged").is_dir()
