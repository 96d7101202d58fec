"""Local SGD, a strategy of an external plugin whose ranks have different weights between two averages."""

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.run_differences import differences
from seqx.errors import UserError
from seqx.parallel import World
from seqx.parallel.parallelism import Step
from seqx.storage.checkpoints import Checkpoints
from seqx.testing.ranks import RankExit, run_on_ranks
from tests.core.parallel.test_coordination import train_altered
from tests.core.parallel.test_training import losses, train, train_on_ranks

EXAMPLE = Path(__file__).parents[3] / "examples" / "seqx-local-sgd" / "seqx_local_sgd" / "__init__.py"
LOCAL_SGD = (
    "training.parallel={type: local_sgd, every: 3}",
    "training.steps=4",
    "training.validate_every=2",
    "training.save_every=2",
    "training.schedule.warmup=2",
)


def folder_with_plugin(folder: Path) -> Path:
    """Return the folder, with the plugin for each of up to three ranks."""
    for place in (folder, *(folder / f"{rank}" for rank in range(3))):
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(EXAMPLE, place / "local_sgd.py")
    return folder


def exits_of(size: int, folder: Path, *settings: str) -> list[RankExit]:
    """Return the exits of the ranks of a run that may fail."""
    return run_on_ranks(
        size, lambda world: train(world, folder, "run", *settings), folder, separate_store=True
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on two ranks, which saved after updates 2 and 4, before and after an average."""
    folder = folder_with_plugin(tmp_path_factory.mktemp("local_sgd"))
    train_on_ranks(2, folder, "run", *LOCAL_SGD)
    return folder


@pytest.mark.promise("resume-with-different-weights")
def test_local_sgd_resumes_bitwise_between_two_averages(trained: Path, tmp_path: Path) -> None:
    def on_rank(world: World) -> None:
        forward, calls = Step.forward, 0

        def kill_in_update_4(step: Step, batch: Any) -> Any:
            nonlocal calls
            calls += step.training
            if calls == 4:
                os.kill(os.getpid(), signal.SIGKILL)
            return forward(step, batch)

        Step.forward = kill_in_update_4  # type: ignore[method-assign, assignment]  # this process ends afterwards
        train(world, tmp_path, "run", *LOCAL_SGD)

    exits = run_on_ranks(2, on_rank, folder_with_plugin(tmp_path))
    assert [each.code for each in exits] == [-signal.SIGKILL] * 2
    assert Checkpoints(tmp_path / "run" / "checkpoints").steps() == [2]
    train_on_ranks(2, tmp_path, "run", *LOCAL_SGD)
    assert differences(tmp_path / "run", trained / "run") == []


@pytest.mark.promise("resume-with-different-weights")
@pytest.mark.parametrize(
    ("size", "setting", "message"),
    [
        (3, LOCAL_SGD[0], "this run did not begin with local_sgd, every: 3, and 3 processes"),
        (2, "training.parallel={type: local_sgd, every: 2}", "local_sgd, every: 2, and 2 processes"),
        (2, "training.parallel=ddp", "the 2 ranks of this run have different weights"),
    ],
)
def test_local_sgd_refuses_to_resume_in_another_way(
    size: int, setting: str, message: str, trained: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    exits = exits_of(size, tmp_path, *LOCAL_SGD[1:], setting, "training.steps=5")
    assert [each.code for each in exits] == [2] * size
    errors = [line for each in exits for line in each.stderr.splitlines() if line]
    assert len(errors) == 1, exits
    assert message in errors[0]


@pytest.mark.promise("resume-with-different-weights")
def test_single_process_refuses_to_resume_a_run_of_local_sgd(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    with pytest.raises(UserError, match="with the strategy that the run began with, and with 2 processes"):
        train_on_ranks(1, tmp_path, "run", *LOCAL_SGD, "training.steps=5")


@pytest.mark.promise("resume-with-different-weights")
def test_local_sgd_refuses_a_run_of_another_strategy(trained: Path, tmp_path: Path) -> None:
    train_on_ranks(2, folder_with_plugin(tmp_path), "run", *LOCAL_SGD[1:], "training.steps=3")
    assert losses(tmp_path / "run") != losses(trained / "run")[:3]
    exits = exits_of(2, tmp_path, *LOCAL_SGD, "training.steps=5")
    assert [each.code for each in exits] == [2, 2]


@pytest.mark.promise("rollback-on-all-ranks")
def test_local_sgd_rolls_back_to_the_weights_of_each_rank(trained: Path, tmp_path: Path) -> None:
    """After the rollback, update 3 is that of the run without a fault, on each rank."""
    exits = train_altered(
        folder_with_plugin(tmp_path),
        lambda rank, calls, _, sums: (
            {n: s * torch.nan for n, s in sums.items()} if (rank, calls) == (1, 4) else sums
        ),
        *LOCAL_SGD,
        "training.max_nonfinite=0",
    )
    assert exits[0].result == exits[1].result
    assert losses(tmp_path / "run")[:3] == losses(trained / "run")[:3]
    skipped = json.loads((tmp_path / "run" / "skipped_batches.json").read_text(encoding="utf-8"))
    assert [(each["from"], each["to"]) for each in skipped["returns"]] == [(4, 2)]


def test_a_single_process_ignores_the_strategy(tmp_path: Path) -> None:
    train_on_ranks(1, folder_with_plugin(tmp_path), "with", *LOCAL_SGD)
    train_on_ranks(1, tmp_path, "without", *LOCAL_SGD[1:])
    assert losses(tmp_path / "with") == losses(tmp_path / "without")


def test_moving_average_refuses_a_strategy_without_current_weights(tmp_path: Path) -> None:
    message = r"training.ema={}: .* with training.parallel: local_sgd the model has"
    with pytest.raises(UserError, match=message):
        train_on_ranks(1, folder_with_plugin(tmp_path), "run", *LOCAL_SGD, "training.ema={}")
