"""One run on several processes: the same updates, however they are shared, and checkpoints for any number."""

import os
import shutil
import signal
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch.distributed.tensor import DTensor

from benchmarks.run_differences import differences
from seqx import recipe
from seqx.errors import UserError
from seqx.experiment import run
from seqx.parallel import SINGLE_PROCESS, World
from seqx.parallel.ddp import DDP
from seqx.parallel.fsdp import FSDP
from seqx.parallel.strategy import Step
from seqx.plugin.loading import Plugins, load_plugins
from seqx.recipe import Configured
from seqx.runtime.signals import StopRequest
from seqx.storage.checkpoints import Checkpoints
from seqx.training.description import Experiment
from tests.core.parallel.crew import crew
from tests.models import RECIPE
from tests.stories.tiny import lines

QUIET = """\
training:
  steps: 20
  tokens: 300
  objective: {type: cross_entropy, smoothing: 0.1}
  optimizer: {type: adam, betas: [0.9, 0.98], eps: 1e-9}
  schedule: {type: inverse_square_root, warmup: 3, peak: 1e-3}
  precision: fp32
  validate_every: 10
  save_every: 5
  average: 1
callbacks: [{type: metrics, every: 1}]
"""
CLOSE = 1e-6


def made(folder: Path, *settings: str) -> tuple[Configured[Experiment], Plugins]:
    """The recipe, checked."""
    file = folder / "tiny.yaml"
    file.write_text(RECIPE.replace("layers: 1", "layers: 1, dropout: 0") + QUIET, encoding="utf-8")
    found = load_plugins()
    return recipe.check(recipe.load(file, None, settings).tree, found.registry, Experiment), found


def trained(world: World, folder: Path, name: str, *settings: str, stop: StopRequest | None = None) -> Any:
    """A run in `folder / name`; its scores."""
    checked, found = made(folder, *settings) if world.is_rank_zero else (None, None)
    if world.size > 1:
        world.barrier()
        checked, found = (
            made(folder / f"{world.rank}", *settings) if not world.is_rank_zero else (checked, found)
        )
    assert checked is not None
    assert found is not None
    return run(checked, found, name=name, folder=folder / name, device="cpu", world=world, stop=stop)


def spread(size: int, folder: Path, name: str, *settings: str) -> list[Any]:
    """The run on `size` processes; the scores that each of them knows."""
    if size == 1:
        return [trained(SINGLE_PROCESS, folder, name, *settings)]
    for rank in range(size):
        (folder / f"{rank}").mkdir(exist_ok=True)
    left = crew(size, lambda world: trained(world, folder, name, *settings), folder)
    assert [each.code for each in left] == [0] * size, left
    return [each.answer for each in left]


def updates(folder: Path) -> list[dict[str, Any]]:
    """Return the lines about updates in the metrics of a run."""
    return lines(folder, "update")


def losses(folder: Path) -> list[float]:
    """Return the loss of each update."""
    return [row["loss"] for row in updates(folder)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The run of one process, and its scores."""
    folder = tmp_path_factory.mktemp("alone")
    return folder / "1", spread(1, folder, "1")[0]


@pytest.mark.promise("same-losses-on-all-ranks")
@pytest.mark.parametrize(("size", "settings"), [(2, ()), (3, ("training.microbatch=100",)), (4, ())])
def test_losses_do_not_depend_on_the_number_of_ranks(
    size: int, settings: tuple[str, ...], alone: tuple[Path, Any], tmp_path: Path
) -> None:
    scores = spread(size, tmp_path, "run", *settings)

    one, several = updates(alone[0]), updates(tmp_path / "run")
    assert len(one) == len(several) == 20
    assert [row["tokens"] for row in several] == [row["tokens"] for row in one]
    assert losses(tmp_path / "run") == pytest.approx(losses(alone[0]), rel=CLOSE)
    assert [row["norm"] for row in several] == pytest.approx([row["norm"] for row in one], rel=1e-4)
    for known in scores:
        assert known == alone[1]


@pytest.mark.promise("ranks-without-rows")
def test_ranks_without_examples_take_part(tmp_path: Path) -> None:
    """Updates of one or two sentences, for three processes."""
    few = ("training.tokens=30", "training.validate_every=20")
    spread(1, tmp_path, "one", *few)
    spread(3, tmp_path, "three", *few)

    assert max(row["tokens"] for row in updates(tmp_path / "one")) <= 30
    assert losses(tmp_path / "three") == pytest.approx(losses(tmp_path / "one"), rel=CLOSE)


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten updates of two processes."""
    folder = tmp_path_factory.mktemp("half")
    spread(2, folder, "run", "training.steps=10")
    return folder / "run"


@pytest.mark.promise("resume-with-other-process-count")
@pytest.mark.parametrize("size", [1, 3, 4])
def test_run_resumes_with_another_number_of_ranks(
    size: int, half: Path, alone: tuple[Path, Any], tmp_path: Path
) -> None:
    shutil.copytree(half, tmp_path / "run")
    spread(size, tmp_path, "run")

    found, expected = updates(tmp_path / "run"), updates(alone[0])
    assert [row["step"] for row in found] == list(range(1, 21))
    assert [row["loss"] for row in found] == pytest.approx([row["loss"] for row in expected], rel=CLOSE)


@pytest.mark.promise("resume-on-several-devices")
@pytest.mark.parametrize("sharding", ["none", "full"])
def test_killed_run_resumes_bitwise_with_the_same_number_of_ranks(sharding: str, tmp_path: Path) -> None:
    """All that it leaves, bit by bit; dropout of each process included.

    Three of them, because sums of two numbers are the same in any order.
    """
    how = ("model.encoder.dropout=0.1", f"training.sharding={sharding}", "training.steps=10")
    spread(3, tmp_path, "whole", *how)

    def job(world: World) -> None:
        forward, calls = Step.forward, 0

        def dying(step: Step, batch: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 8 - (sharding != "none"):
                os.kill(os.getpid(), signal.SIGKILL)
            return forward(step, batch)

        Step.forward = dying  # type: ignore[method-assign, assignment]  # in a process that ends with this
        trained(world, tmp_path, "killed", *how)

    left = crew(3, job, tmp_path)
    assert [each.code for each in left] == [-signal.SIGKILL] * 3
    assert Checkpoints(tmp_path / "killed" / "checkpoints").steps() == [5]
    spread(3, tmp_path, "killed", *how)

    assert [row["step"] for row in updates(tmp_path / "killed")] == list(range(1, 11))
    assert differences(tmp_path / "killed", tmp_path / "whole") == []


@pytest.mark.promise("sharded-training")
def test_sharded_training_equals_training_on_one_device(alone: tuple[Path, Any], tmp_path: Path) -> None:
    """With as many parts on each, and more on one; then whole again, on other numbers of processes."""
    sharded = ("training.sharding=full", "training.microbatch=100")
    scores = spread(2, tmp_path, "run", *sharded)
    assert losses(tmp_path / "run") == pytest.approx(losses(alone[0]), rel=CLOSE)
    assert scores == [alone[1]] * 2

    spread(2, tmp_path, "parted", *sharded, "training.steps=10")
    for size, how in ((3, "full"), (1, "none"), (2, "none")):
        shutil.copytree(tmp_path / "parted", tmp_path / f"on {size} {how}")
        spread(size, tmp_path, f"on {size} {how}", f"training.sharding={how}")
        assert losses(tmp_path / f"on {size} {how}") == pytest.approx(losses(alone[0]), rel=CLOSE)


KINDS = {
    "recurrent": [
        "training.sharding=state",
        "model.encoder={type: lstm, layers: 2, dropout: 0}",
        "model.decoder={type: gru, layers: 1, attention: additive, order: bahdanau, dropout: 0}",
    ],
    "convolution": [
        "training.sharding=full",
        "model.encoder={type: convolution, layers: 2, width: 16, positions: learned, dropout: 0}",
        "model.decoder={type: convolution, layers: 2, width: 16, attention: multihead, dropout: 0}",
    ],
    "muon": ["training.sharding=full", "training.optimizer={type: muon}"],
}


@pytest.mark.promise("sharded-training")
@pytest.mark.parametrize("kind", KINDS)
def test_sharded_training_works_with_all_models_and_optimizers(kind: str, tmp_path: Path) -> None:
    spread(1, tmp_path, "one", *KINDS[kind], "training.steps=6")
    for steps in (3, 6) if kind == "muon" else (6,):  # two optimizers, each of which goes on with its own
        spread(2, tmp_path, "two", *KINDS[kind], f"training.steps={steps}")
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=2e-5)


def test_full_sharding_refuses_layers_that_are_called_per_token(tmp_path: Path) -> None:
    for rank in (0, 1):
        (tmp_path / f"{rank}").mkdir()
    how = (*KINDS["recurrent"], "training.sharding=full")
    left = crew(2, lambda world: trained(world, tmp_path, "run", *how), tmp_path)
    assert [each.code for each in left] == [2, 2]
    assert "set training.sharding: state" in "".join(each.said for each in left)


def test_sharding_refuses_an_optimizer_that_needs_whole_matrices(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Adafactor cannot update shards"):
        spread(1, tmp_path, "run", "training.optimizer={type: adafactor}", "training.sharding=state")


class Half(torch.nn.Module):
    """A model that trains one of its two maps."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.idle = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)

    def forward(self, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": self.used(inputs).sum()}


@pytest.mark.promise("parameters-without-gradient")
def test_ddp_names_parameters_without_gradient(tmp_path: Path) -> None:
    def job(world: World) -> None:
        strategy = DDP(cast("Any", Half()), world)
        with strategy.gradient_sync(last=True):
            sums = dict(strategy(cast("Any", torch.ones(2, 3))))
            torch.autograd.backward(sums["loss"])
        strategy.check_all_grads()

    left = crew(2, job, tmp_path)
    assert [each.code for each in left] == [2, 2]
    said = "".join(each.said for each in left)
    assert "training.objective: no gradient for idle.weight, idle.bias (2 in all)" in said


def test_fsdp_keeps_one_shard_per_rank(tmp_path: Path) -> None:
    def kept(world: World) -> tuple[int, int]:
        model = torch.nn.Sequential(*(torch.nn.Linear(8, 8) for _ in range(3)))
        step = Step(cast("Any", model), cast("Any", None))
        FSDP(step, world, torch.device("cpu"))
        parts = [p for p in step.parameters() if isinstance(p, DTensor)]
        return sum(p.numel() for p in parts), sum(p.to_local().numel() for p in parts)

    left = crew(2, kept, tmp_path)
    assert [each.answer for each in left] == [(216, 108)] * 2, left
