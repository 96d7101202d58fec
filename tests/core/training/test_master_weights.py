"""Weights in bf16 with a master copy in fp32: gradients, rounding, out-of-memory errors, rehearsals."""

from itertools import islice
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import seqx_training
from seqx.errors import UserError
from seqx.parallel import SINGLE_PROCESS
from seqx.parallel.master_weights import MasterWeights, with_bfloat16_weights
from seqx.parallel.parallelism import Step
from seqx.training.gradient_accumulation import GradientAccumulation
from seqx.training.loop import rehearse, updates
from seqx.training.placement import check_weight_precision
from tests.core.training.test_ema import TiedModel
from tests.core.training.test_loop import (
    CPU,
    WHOLE,
    LimitedMemory,
    ThreeSums,
    TokenTable,
    rising_rate,
    update_batches,
)

SINGLE = [[0], [1], [2], [3], [4]]


def train(
    split: list[list[int]], objective: ThreeSums | None = None, *, rehearsed: bool = False
) -> MasterWeights:
    """Return the strategy after three updates."""
    torch.manual_seed(1)
    strategy = MasterWeights.of(Step(TokenTable(), objective or ThreeSums()), CPU)
    optimizer = strategy.build_optimizer(seqx_training.Adam())
    accumulation = GradientAccumulation(strategy=strategy, device=CPU, precision="bf16")
    if rehearsed:
        rehearse(accumulation, optimizer, next(update_batches(split)))
    stream = updates(accumulation, optimizer, rising_rate, update_batches(split), clip=1.0, done=0)
    assert sum(update.oom_retries for update in islice(stream, 3)) == (objective is not None)
    return strategy


def master_of(strategy: MasterWeights) -> torch.Tensor:
    return next(strategy.model.parameters())


@pytest.mark.parametrize("split", [WHOLE, SINGLE])
def test_weights_are_the_rounded_master_copy_after_each_update(split: list[list[int]]) -> None:
    strategy = train(split)
    (weight,), (master,) = strategy.step.model.parameters(), strategy.model.parameters()
    assert (weight.dtype, master.dtype) == (torch.bfloat16, torch.float32)
    assert torch.equal(weight, master.bfloat16())
    assert not torch.equal(weight.float(), master)
    assert weight.grad is None
    assert master.grad is None


def test_gradients_of_microbatches_are_added_in_fp32() -> None:
    strategy = MasterWeights.of(Step(TokenTable(), ThreeSums()), CPU)
    (weight,), (master,) = strategy.step.model.parameters(), strategy.model.parameters()
    for value in (1.0, 2**-10):  # their sum needs more than the 8 bits of bf16
        with strategy.gradient_sync(last=True):
            weight.grad = torch.full_like(weight, value)
    assert master.grad is not None
    assert torch.equal(master.grad, torch.full_like(master, 1 + 2**-10))
    strategy.drop_gradients()
    assert master.grad is None


def test_update_after_an_out_of_memory_error_equals_that_without() -> None:
    assert torch.equal(
        master_of(train([[0, 1], [2, 3, 4]], LimitedMemory(2))), master_of(train([[0, 1], [2], [3, 4]]))
    )


def test_rehearsal_with_master_weights_changes_nothing() -> None:
    assert torch.equal(master_of(train(WHOLE, rehearsed=True)), master_of(train(WHOLE)))


def test_restored_master_copy_is_rounded() -> None:
    strategy = train(WHOLE)
    with torch.no_grad():
        master_of(strategy).fill_(1 / 3)
    strategy.load_full_model()
    assert torch.equal(next(strategy.step.model.parameters()), master_of(strategy).bfloat16())


def test_copy_in_bf16_keeps_ties_and_untrained_parameters_and_uses_the_same_buffers() -> None:
    model = TiedModel()
    copied: Any = with_bfloat16_weights(model)
    assert copied.projection.weight is copied.table.weight
    assert copied.fixed.dtype == torch.bfloat16
    assert not copied.fixed.requires_grad
    copied.seen += 1
    assert model.seen == 1
    assert {p.dtype for p in model.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("processes", "precision", "message"),
    [
        (2, "bf16", r"needs one process, not 2; .* set training.parallel: {type: fsdp, gather: bf16}"),
        (1, "fp32", r"fp32 they are in fp32 on cpu; set training.precision: bf16"),
    ],
)
def test_bf16_weights_are_refused_where_they_cannot_be_trained(
    processes: int, precision: str, message: str
) -> None:
    config: Any = SimpleNamespace(weight_precision="bf16", precision=precision)
    world: Any = SimpleNamespace(size=processes)
    with pytest.raises(UserError, match=f"training.weight_precision: bf16 .*{message}"):
        check_weight_precision(config, world, CPU)
    config.precision = "bf16"
    check_weight_precision(config, SINGLE_PROCESS, CPU)
