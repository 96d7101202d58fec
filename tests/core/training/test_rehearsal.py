"""The largest update is computed first, and training goes on as if that had not been."""

from itertools import islice

import pytest
import torch
from torch import Tensor, nn

import seqx_training
from seqx.errors import UserError
from seqx.interfaces.learning import Optimizer
from seqx.interfaces.tensors import Tokens
from seqx.parallel.strategy import Step
from seqx.training.loop import rehearse, updates
from tests.core.training.test_loop import (
    WHOLE,
    Likelihood,
    Small,
    Words,
    accumulation,
    rising,
    update_batches,
)


class Forgetful(Words):
    """Draws random numbers, and counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Tensor
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def encode(self, source: Tokens) -> Tensor:
        self.calls += self.training
        return nn.functional.dropout(super().encode(source), 0.5, self.training)


def trained(optimizer: Optimizer, *, rehearsed: bool) -> tuple[Step, torch.optim.Optimizer, Tensor]:
    torch.manual_seed(1)
    step = Step(Forgetful(), Likelihood())
    steps = optimizer.build(step)
    if rehearsed:
        step.eval()
        rehearse(accumulation(step), steps, next(update_batches(WHOLE)))
    stream = updates(accumulation(step), steps, rising, update_batches(WHOLE), clip=None, done=0)
    list(islice(stream, 3))
    return step, steps, torch.get_rng_state()


@pytest.mark.promise("trial-update-changes-nothing")
@pytest.mark.parametrize(
    "optimizer", [seqx_training.Adam(), seqx_training.AdamW(), seqx_training.Adafactor()], ids=str
)
def test_rehearsal_changes_nothing(optimizer: Optimizer) -> None:
    one, other = (trained(optimizer, rehearsed=rehearsed) for rehearsed in (False, True))
    pairs = [(one[0].state_dict(), other[0].state_dict())]
    pairs += [
        (ours, theirs) for ours, theirs in zip(one[1].state.values(), other[1].state.values(), strict=True)
    ]
    for ours, theirs in pairs:
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert torch.equal(one[2], other[2])


@pytest.mark.promise("out-of-memory-before-training")
def test_rehearsal_finds_an_example_that_does_not_fit_before_training() -> None:
    step = Step(Words(), Small(0))
    before = [p.clone() for p in step.parameters()]
    optimizer = seqx_training.Adam().build(step)
    batch = next(update_batches([[2]]))
    with pytest.raises(
        UserError, match=r"the largest update: cpu is out of memory with a single example: example 2;"
    ):
        rehearse(accumulation(step), optimizer, batch)
    assert all(torch.equal(p, q) for p, q in zip(step.parameters(), before, strict=True))


def test_rehearsal_finds_an_optimizer_state_that_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    step = Step(Words(), Likelihood())
    optimizer = seqx_training.Adam().build(step)

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr("seqx.training.loop.create_optimizer_state", full)
    with pytest.raises(UserError, match="the first update: cpu is out of memory in the step of the opti"):
        rehearse(accumulation(step), optimizer, next(update_batches(WHOLE)))
