"""What befalls one of several processes is settled by all: lack of memory, signals, bad numbers, damage."""

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from seqx.checkpoint import WEIGHTS
from seqx.distributed import World
from seqx.stopping import Stop, Stopped
from seqx.training.step import Step
from tests.core.distributed.crew import Left, crew
from tests.core.distributed.test_training import CLOSE, losses, spread, trained

Sums = dict[str, Tensor]


def altered(
    folder: Path, change: Callable[[int, int, Any, Sums], Sums], *settings: str, stops: bool = False
) -> list[Left]:
    """Two processes that train; `change` gets the rank, how many batches were computed, one, and its sums.

    With `stops` a process whose sums are none has been asked to stop; it answers where the run stopped.
    """

    def job(world: World) -> Any:
        forward, calls, stop = Step.forward, 0, Stop()

        def other(step: Step, batch: Any) -> Sums:
            nonlocal calls
            calls += step.training
            found = change(world.rank, calls if step.training else 0, batch, dict(forward(step, batch)))
            if not found and stops:
                stop.by = signal.SIGTERM
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


def test_memory_that_one_lacks_makes_all_compute_again(undisturbed: tuple[Path, Any], tmp_path: Path) -> None:
    def short(rank: int, calls: int, batch: Any, sums: Sums) -> Sums:
        places = sum(column.ids.numel() for column in batch.columns.values())
        if calls and rank == 1 and places > 140:
            raise torch.OutOfMemoryError("no more")
        return sums

    left = altered(tmp_path, short, "training.microbatch=100")
    assert losses(tmp_path / "run") == pytest.approx(losses(undisturbed[0]), rel=CLOSE)
    assert [each.answer for each in left] == [undisturbed[1]] * 2
    rows = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    (noticed,) = [row["what"] for row in rows if row["kind"] == "noticed"]
    assert "was computed again in smaller parts" in noticed


def test_a_signal_to_one_stops_all(undisturbed: tuple[Path, Any], tmp_path: Path) -> None:
    def asked(rank: int, calls: int, batch: Any, sums: Sums) -> Sums:
        del batch
        return {} if (rank, calls) == (1, 7) else sums

    left = altered(tmp_path, asked, stops=True)
    assert [each.answer for each in left] == ["SIGTERM"] * 2
    assert [path.name for path in sorted((tmp_path / "run" / "checkpoints").iterdir())][-1] == "00000007"
    spread(2, tmp_path, "run")
    assert losses(tmp_path / "run") == losses(undisturbed[0])


def test_all_go_back_from_what_is_not_finite(tmp_path: Path) -> None:
    def spoilt(rank: int, calls: int, batch: Any, sums: Sums) -> Sums:
        del batch
        return {name: term * torch.nan for name, term in sums.items()} if (rank, calls) == (1, 7) else sums

    left = altered(tmp_path, spoilt, "training.nonfinite=0")
    assert left[0].answer == left[1].answer
    (gone,) = json.loads((tmp_path / "run" / "passed_over.json").read_text(encoding="utf-8"))["returns"]
    assert (gone["from"], gone["to"], len(gone["batches"])) == (7, 5, 1)


def test_a_damaged_checkpoint_is_passed_over_by_all(undisturbed: tuple[Path, Any], tmp_path: Path) -> None:
    spread(2, tmp_path, "run", "training.steps=10")
    shutil.rmtree(tmp_path / "run" / "model")
    weights = tmp_path / "run" / "checkpoints" / "00000010" / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1])
    spread(2, tmp_path, "run")
    assert losses(tmp_path / "run") == losses(undisturbed[0])
    assert (tmp_path / "run" / "checkpoints" / "00000010.damaged").is_dir()
