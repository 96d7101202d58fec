"""A run on several ranks: its updates and checkpoints do not depend on their number."""

import os
import shutil
import signal
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.debug import CommDebugMode

from benchmarks.run_differences import differences
from seqx import recipe
from seqx.errors import UserError
from seqx.experiment import run
from seqx.parallel import SINGLE_PROCESS, World, fsdp
from seqx.parallel.ddp import DDP
from seqx.parallel.fsdp import FSDP
from seqx.parallel.parallelism import Step
from seqx.plugin.loading import Plugins, load_plugins
from seqx.recipe import Configured
from seqx.runtime.signals import StopRequest
from seqx.storage.checkpoints import Checkpoints
from seqx.storage.weights import WEIGHTS
from seqx.testing.ranks import run_on_ranks
from seqx.training.description import Experiment
from tests.models import RECIPE
from tests.stories.tiny import lines

TRAINING = """\
training:
  steps: 5
  tokens: 300
  objective: {type: cross_entropy, smoothing: 0.1}
  optimizer: {type: adam, betas: [0.9, 0.98], eps: 1e-9}
  schedule: {type: inverse_square_root, warmup: 3, peak: 1e-3}
  precision: fp32
  validate_every: 4
  save_every: 3
  average: 1
search: {type: greedy, ratio: 0.1, extra: 1}
callbacks: [{type: metrics, every: 1}]
"""
CLOSE = 1e-6


def checked_recipe(folder: Path, *settings: str) -> tuple[Configured[Experiment], Plugins]:
    """Write the recipe, with the plugin in the folder if there is one; return it checked, with plugins."""
    file = folder / "tiny.yaml"
    local = [f"plugins: [{path}]\n" for path in folder.glob("*.py")]
    text = RECIPE.replace("layers: 1", "layers: 1, dropout: 0").partition("search:")[0] + TRAINING
    file.write_text("".join([*local, text]), encoding="utf-8")
    loaded = recipe.load(file, None, settings)
    plugins = load_plugins(loaded.plugins)
    return recipe.check(loaded.tree, plugins.registry, Experiment), plugins


def train(world: World, folder: Path, name: str, *settings: str, stop: StopRequest | None = None) -> Any:
    """Train in `folder / name`; return the scores."""
    checked, plugins = checked_recipe(folder, *settings) if world.is_rank_zero else (None, None)
    if world.size > 1:
        world.barrier()
        checked, plugins = (
            checked_recipe(folder / f"{world.rank}", *settings)
            if not world.is_rank_zero
            else (checked, plugins)
        )
    assert checked is not None
    assert plugins is not None
    return run(checked, plugins, name=name, folder=folder / name, device="cpu", world=world, stop=stop)


def train_on_ranks(size: int, folder: Path, name: str, *settings: str) -> list[Any]:
    """Train on `size` ranks; return the scores that each rank knows."""
    if size == 1:
        return [train(SINGLE_PROCESS, folder, name, *settings)]
    for rank in range(size):
        (folder / f"{rank}").mkdir(exist_ok=True)
    exits = run_on_ranks(size, lambda world: train(world, folder, name, *settings), folder)
    assert [each.code for each in exits] == [0] * size, exits
    return [each.result for each in exits]


def updates(folder: Path) -> list[dict[str, Any]]:
    """Return the lines about updates in the metrics of a run."""
    return lines(folder, "update")


def losses(folder: Path) -> list[float]:
    """Return the loss of each update."""
    return [row["loss"] for row in updates(folder)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The folder and the scores of a run on one rank."""
    folder = tmp_path_factory.mktemp("alone")
    return folder / "1", train_on_ranks(1, folder, "1")[0]


@pytest.mark.promise("same-losses-on-all-ranks")
@pytest.mark.parametrize(("size", "settings"), [(2, ()), (3, ("training.microbatch=100",))])
def test_losses_do_not_depend_on_the_number_of_ranks(
    size: int, settings: tuple[str, ...], alone: tuple[Path, Any], tmp_path: Path
) -> None:
    scores = train_on_ranks(size, tmp_path, "run", *settings)

    one, several = updates(alone[0]), updates(tmp_path / "run")
    assert len(one) == len(several) == 5
    assert [row["tokens"] for row in several] == [row["tokens"] for row in one]
    assert losses(tmp_path / "run") == pytest.approx(losses(alone[0]), rel=CLOSE)
    assert [row["norm"] for row in several] == pytest.approx([row["norm"] for row in one], rel=1e-4)
    assert scores == [alone[1]] * size


@pytest.mark.promise("ranks-without-rows")
def test_ranks_without_examples_take_part(tmp_path: Path) -> None:
    """Each update has one or two sentences, for three ranks."""
    few = ("training.tokens=30", "training.steps=4")
    train_on_ranks(1, tmp_path, "one", *few)
    train_on_ranks(3, tmp_path, "three", *few)

    assert max(row["tokens"] for row in updates(tmp_path / "one")) <= 30
    assert losses(tmp_path / "three") == pytest.approx(losses(tmp_path / "one"), rel=CLOSE)


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on two ranks after 2 of its 5 updates, before the end of the first epoch."""
    folder = tmp_path_factory.mktemp("unfinished")
    train_on_ranks(2, folder, "run", "training.steps=2")
    return folder / "run"


@pytest.mark.promise("resume-with-other-process-count")
@pytest.mark.parametrize("size", [1, 3])
def test_run_resumes_with_another_number_of_ranks(
    size: int, unfinished: Path, alone: tuple[Path, Any], tmp_path: Path
) -> None:
    shutil.copytree(unfinished, tmp_path / "run")
    scores = train_on_ranks(size, tmp_path, "run")

    found, expected = updates(tmp_path / "run"), updates(alone[0])
    assert [row["step"] for row in found] == [1, 2, 3, 4, 5]
    assert [row["loss"] for row in found] == pytest.approx([row["loss"] for row in expected], rel=CLOSE)
    assert scores == [alone[1]] * size


@pytest.mark.promise("resume-on-several-devices")
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_killed_run_resumes_bitwise_with_the_same_number_of_ranks(parallel: str, tmp_path: Path) -> None:
    """All files are equal, and each rank continues its own dropout.

    Three ranks are used, because a sum of only two numbers does not depend on their order.
    """
    settings = (
        "model.encoder.dropout=0.1",
        f"training.parallel={parallel}",
        "training.steps=3",
        "training.save_every=2",
        "training.schedule.warmup=2",
    )

    def on_rank(world: World) -> None:
        train(world, tmp_path, "uninterrupted", *settings)
        forward, calls = Step.forward, 0

        def kill_in_update_3(step: Step, batch: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 3 + (parallel == "ddp"):  # with DDP, the first call computes a dummy example
                os.kill(os.getpid(), signal.SIGKILL)
            return forward(step, batch)

        Step.forward = kill_in_update_3  # type: ignore[method-assign, assignment]  # this process ends afterwards
        train(world, tmp_path, "killed", *settings)

    for rank in range(3):
        (tmp_path / f"{rank}").mkdir()
    exits = run_on_ranks(3, on_rank, tmp_path)
    assert [each.code for each in exits] == [-signal.SIGKILL] * 3
    assert Checkpoints(tmp_path / "killed" / "checkpoints").steps() == [2]
    train_on_ranks(3, tmp_path, "killed", *settings)

    assert [row["step"] for row in updates(tmp_path / "killed")] == [1, 2, 3]
    assert differences(tmp_path / "killed", tmp_path / "uninterrupted") == []


@pytest.mark.promise("sharded-training")
def test_sharded_training_equals_training_on_one_device(alone: tuple[Path, Any], tmp_path: Path) -> None:
    """After two updates, the run also resumes with other numbers of ranks, with and without shards."""
    sharded = ("training.parallel=fsdp", "training.microbatch=100")
    train_on_ranks(2, tmp_path, "run", *sharded, "training.steps=2")
    for size, parallel in ((3, "fsdp"), (1, "fsdp"), (2, "ddp")):
        name = f"on {size} {parallel}"
        shutil.copytree(tmp_path / "run", tmp_path / name)
        train_on_ranks(size, tmp_path, name, f"training.parallel={parallel}", "training.steps=3")
        assert losses(tmp_path / name) == pytest.approx(losses(alone[0])[:3], rel=CLOSE)
    scores = train_on_ranks(2, tmp_path, "run", *sharded)
    assert losses(tmp_path / "run") == pytest.approx(losses(alone[0]), rel=CLOSE)
    assert scores == [alone[1]] * 2


SETTINGS = {
    "recurrent": [
        "training.parallel={type: fsdp, reshard_after_forward: false}",
        "model.encoder={type: lstm, layers: 2, dropout: 0}",
        "model.decoder={type: gru, layers: 1, attention: additive, order: bahdanau, dropout: 0}",
    ],
    "convolution": [
        "training.parallel=fsdp",
        "model.encoder={type: convolution, layers: 2, width: 16, positions: learned, dropout: 0}",
        "model.decoder={type: convolution, layers: 2, width: 16, attention: multihead, dropout: 0}",
    ],
    "muon": ["training.parallel=fsdp", "training.optimizer={type: muon, steps: 2}"],
}


@pytest.mark.promise("sharded-training")
@pytest.mark.parametrize("name", SETTINGS)
def test_sharded_training_works_with_all_models_and_optimizers(name: str, tmp_path: Path) -> None:
    # Muon is resumed, because it consists of two optimizers; the third loss depends on their restored states.
    starts = (1, 3) if name == "muon" else (2,)
    train_on_ranks(1, tmp_path, "one", *SETTINGS[name], f"training.steps={starts[-1]}")
    for steps in starts:
        train_on_ranks(2, tmp_path, "two", *SETTINGS[name], f"training.steps={steps}")
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=2e-5)


def test_weights_gathered_in_bf16_train_almost_the_same(alone: tuple[Path, Any], tmp_path: Path) -> None:
    """The shards, and the checkpoint, stay float32."""

    def on_rank(world: World) -> set[torch.dtype]:
        linear, used = F.linear, set[torch.dtype]()

        def recorded(x: Tensor, weight: Tensor, *args: Any) -> Tensor:
            if torch.is_grad_enabled():
                used.add(weight.dtype)
            return linear(x, weight, *args)

        F.linear = recorded  # type: ignore[assignment]  # this process ends afterwards
        train(world, tmp_path, "run", "training.parallel={type: fsdp, gather: bf16}", "training.steps=3")
        return used

    for rank in (0, 1):
        (tmp_path / f"{rank}").mkdir()
    exits = run_on_ranks(2, on_rank, tmp_path)
    assert [each.code for each in exits] == [0, 0], exits
    assert exits[0].result == {torch.bfloat16}
    assert losses(tmp_path / "run") == pytest.approx(losses(alone[0])[:3], rel=0.02)
    assert losses(tmp_path / "run") != pytest.approx(losses(alone[0])[:3], rel=CLOSE)
    weights = load_file(tmp_path / "run" / "checkpoints" / "00000003" / WEIGHTS)
    assert {weight.dtype for weight in weights.values()} == {torch.float32}


def test_fsdp_that_reshards_refuses_layers_that_are_called_per_token(tmp_path: Path) -> None:
    for rank in (0, 1):
        (tmp_path / f"{rank}").mkdir()
    settings = (*SETTINGS["recurrent"], "training.parallel.reshard_after_forward=true")
    exits = run_on_ranks(2, lambda world: train(world, tmp_path, "run", *settings), tmp_path)
    assert [each.code for each in exits] == [2, 2]
    assert "set training.parallel: {type: fsdp, reshard_after_forward: false}" in "".join(
        each.stderr for each in exits
    )


def test_fsdp_refuses_an_optimizer_that_needs_whole_matrices(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"training.parallel=fsdp: the optimizer adafactor cannot update"):
        train_on_ranks(1, tmp_path, "run", "training.optimizer={type: adafactor}", "training.parallel=fsdp")


class OneIdleLayer(torch.nn.Module):
    """A model that uses only one of its two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.idle = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)

    def forward(self, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": self.used(inputs).sum()}


@pytest.mark.promise("parameters-without-gradient")
def test_ddp_names_parameters_without_gradient(tmp_path: Path) -> None:
    def on_rank(world: World) -> None:
        strategy = DDP()
        strategy.setup(cast("Any", OneIdleLayer()), world, torch.device("cpu"))
        with strategy.gradient_sync(last=True):
            sums = dict(strategy(cast("Any", torch.ones(2, 3))))
            torch.autograd.backward(sums["loss"])
        strategy.check_all_grads()

    exits = run_on_ranks(2, on_rank, tmp_path)
    assert [each.code for each in exits] == [2, 2]
    stderr = "".join(each.stderr for each in exits)
    assert "training.objective: no gradient for idle.weight, idle.bias (2 in all)" in stderr


def test_fsdp_keeps_one_shard_per_rank(tmp_path: Path) -> None:
    def count_weights(world: World) -> tuple[int, int]:
        model = torch.nn.Sequential(*(torch.nn.Linear(8, 8) for _ in range(3)))
        step = Step(cast("Any", model), cast("Any", None))
        FSDP().setup(step, world, torch.device("cpu"))
        sharded = [p for p in step.parameters() if isinstance(p, DTensor)]
        return sum(p.numel() for p in sharded), sum(p.to_local().numel() for p in sharded)

    exits = run_on_ranks(2, count_weights, tmp_path)
    assert [each.result for each in exits] == [(216, 108)] * 2, exits


def test_fsdp_gathers_many_tensors_in_one_call(tmp_path: Path) -> None:
    """The rows of some tensors cannot be divided equally; one rank has no row of the tensors with one row."""

    def on_rank(world: World) -> list[int]:
        torch.manual_seed(0)
        layers = (torch.nn.Linear(3, 7), torch.nn.Linear(7, 1), torch.nn.Linear(1, 4))
        model = torch.nn.Sequential(*layers)
        model.register_buffer("mean", torch.ones(3))
        expected = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        strategy, step = FSDP(), Step(cast("Any", model), cast("Any", None))
        strategy.setup(step, world, torch.device("cpu"))
        calls = []
        for limit in (fsdp.GATHERED_BYTES, 100):
            vars(fsdp)["GATHERED_BYTES"] = limit
            for tensor in strategy.model.state_dict().values():
                tensor.zero_()
            with CommDebugMode() as communication:  # type: ignore[no-untyped-call]
                strategy.gather_full_model()
                state = strategy.full_state_dict({"states": [dict(step.model.named_parameters())], "step": 3})
            calls.append(communication.get_total_counts())
            assert state["step"] == 3
            for name, tensor in strategy.model.state_dict().items():
                assert torch.equal(tensor, expected[name]), name
                if name != "mean" and world.is_rank_zero:
                    assert torch.equal(state["states"][0][name], tensor), name
            # Only rank 0 writes checkpoints, so the others keep no whole tensor.
            assert world.is_rank_zero or set(state["states"][0].values()) == {None}
        return calls

    exits = run_on_ranks(3, on_rank, tmp_path)
    assert [each.result for each in exits] == [[2, 4]] * 3, exits
