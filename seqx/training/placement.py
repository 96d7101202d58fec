"""Move the model and the objective to the devices that train them."""

from collections.abc import Sequence

import click
import torch

from seqx.errors import PluginError, UserError
from seqx.interfaces.learning import Optimizer
from seqx.interfaces.networks import Model
from seqx.parallel import World
from seqx.parallel.ddp import DDP
from seqx.parallel.master_weights import MasterWeights
from seqx.parallel.parallelism import Parallelism, SingleDevice, Step
from seqx.plugin.registry import where
from seqx.runtime.allocator import keep_heap
from seqx.runtime.devices import raise_torch_oom
from seqx.runtime.precision import precision_of
from seqx.training.compile import compile_layers, while_compiling
from seqx.training.config import Training

COMPILED_ON_A_CPU = (
    "training.compile: on a CPU an update with compiled layers can take longer, and compiling takes most of "
    "a minute; set training.compile=false unless you measured a gain (python -m benchmarks.compiling)"
)


def build_strategy(config: Training, model: Model, world: World, device: torch.device) -> Parallelism:
    """Move the model and the objective, or this rank's shard of them, to the device; return the strategy.

    Raises:
        UserError: the model does not fit into memory
    """
    if device.type == "cpu":
        keep_heap()
    step = Step(model, config.objective)
    strategy = choose_strategy(config, world)
    seed_rank(config.seed, world.rank)
    try:
        with raise_torch_oom():
            set_up(strategy, step, world, device)
    except torch.OutOfMemoryError:
        raise UserError(
            f"{device} is out of memory: the model does not fit; make it smaller, or shard it over several "
            "devices with training.parallel=fsdp"
        ) from None
    if config.compile:
        if device.type == "cpu" and world.is_rank_zero:
            click.echo(COMPILED_ON_A_CPU, err=True)
        compile_layers(strategy.step.model)
        if world.size > 1:
            while_compiling(strategy.waiting)
    return strategy


def check_weight_precision(config: Training, world: World, device: torch.device) -> None:
    """Check that the device and the number of processes support `training.weight_precision`.

    Raises:
        UserError: they do not
    """
    if config.weight_precision != "bf16":
        return
    if world.size > 1:
        raise UserError(
            f"training.weight_precision: bf16 needs one process, not {world.size}; remove it, and set "
            "training.parallel: {type: fsdp, gather: bf16}, which also keeps fp32 copies of bf16 weights"
        )
    if precision_of(config.precision, device) != "bf16":
        raise UserError(
            "training.weight_precision: bf16 needs matrix products in bf16, but with training.precision: "
            f"{config.precision} they are in fp32 on {device}; set training.precision: bf16"
        )


def choose_strategy(config: Training, world: World) -> Parallelism:
    """Return the strategy for the number of processes."""
    if world.size > 1:
        return config.parallel or DDP()
    return MasterWeights() if config.weight_precision == "bf16" else SingleDevice()


def seed_rank(seed: int, rank: int) -> None:
    """Give each rank its own random numbers for dropout.

    Rank 0 keeps the random state that it has after the weights were initialised.
    """
    if rank:
        torch.manual_seed((seed + rank * 0x9E3779B97F4A7C15) % 2**64)


def set_up(strategy: Parallelism, step: Step, world: World, device: torch.device) -> None:
    """Call `setup` of a strategy, and check that it has set all attributes.

    Raises:
        PluginError: an attribute is missing
        OutOfMemoryError: the model does not fit into memory
    """
    strategy.setup(step, world, device)
    _check_attributes(strategy, "setup", "(step, world, device)", ("step", "world", "device", "stragglers"))


def optimizer_of(strategy: Parallelism, optimizer: Optimizer) -> torch.optim.Optimizer:
    """Call `build_optimizer` of a strategy, and check that it keeps the optimizer.

    Raises:
        PluginError: it does not
    """
    built = strategy.build_optimizer(optimizer)
    _check_attributes(strategy, "build_optimizer", "(optimizer), and return its result", ("optimizer",))
    return built


def _check_attributes(strategy: Parallelism, method: str, arguments: str, names: Sequence[str]) -> None:
    missing = [name for name in names if not hasattr(strategy, name)]
    if missing:
        raise PluginError(
            f"{where(getattr(type(strategy), method))}: {method} of the strategy does not set "
            f"{', '.join(missing)}; call super().{method}{arguments}"
        )
