"""The rehearsal of the largest update finds out-of-memory errors, and changes nothing."""

from itertools import islice

import pytest
import torch
from torch import Tensor, nn

import seqx_training
from seqx.errors import UserError
from seqx.interfaces.learning import Optimizer
from seqx.interfaces.tensors import Column
from seqx.parallel.parallelism import Step
from seqx.training.loop import rehearse, updates
from tests.core.training.test_loop import (
    WHOLE,
    LimitedMemory,
    ThreeSums,
    TokenTable,
    accumulation,
    rising_rate,
    update_batches,
)


class DropoutModel(TokenTable):
    """A model with dropout, and with a buffer that counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Tensor
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def encode(self, source: Column) -> Tensor:
        self.calls += self.training
        return nn.functional.dropout(super().encode(source), 0.5, self.training)


def train(optimizer: Optimizer, *, rehearsed: bool) -> tuple[Step, torch.optim.Optimizer, Tensor]:
    """Return the module, the torch optimizer and the random state after three updates."""
    torch.manual_seed(1)
    step = Step(DropoutModel(), ThreeSums())
    torch_optimizer = optimizer.build(step)
    if rehearsed:
        step.eval()
        rehearse(accumulation(step), torch_optimizer, next(update_batches(WHOLE)))
    stream = updates(
        accumulation(step), torch_optimizer, rising_rate, update_batches(WHOLE), clip=None, done=0
    )
    list(islice(stream, 3))
    return step, torch_optimizer, torch.get_rng_state()


@pytest.mark.promise("trial-update-changes-nothing")
@pytest.mark.parametrize(
    "optimizer", [seqx_training.Adam(), seqx_training.AdamW(), seqx_training.Adafactor()], ids=str
)
def test_rehearsal_changes_nothing(optimizer: Optimizer) -> None:
    plain, rehearsed = (train(optimizer, rehearsed=flag) for flag in (False, True))
    pairs = [(plain[0].state_dict(), rehearsed[0].state_dict())]
    pairs += zip(plain[1].state.values(), rehearsed[1].state.values(), strict=True)
    for expected, state in pairs:
        assert expected.keys() == state.keys()
        assert all(torch.equal(expected[name], state[name]) for name in expected)
    assert torch.equal(plain[2], rehearsed[2])


@pytest.mark.promise("out-of-memory-before-training")
def test_rehearsal_finds_an_example_that_does_not_fit_before_training() -> None:
    step = Step(TokenTable(), LimitedMemory(0))
    before = [p.clone() for p in step.parameters()]
    optimizer = seqx_training.Adam().build(step)
    batch = next(update_batches([[2]]))
    with pytest.raises(
        UserError, match=r"the largest update: cpu is out of memory with a single example: example 2;"
    ):
        rehearse(accumulation(step), optimizer, batch)
    assert all(torch.equal(p, q) for p, q in zip(step.parameters(), before, strict=True))


def test_rehearsal_finds_an_optimizer_state_that_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    step = Step(TokenTable(), ThreeSums())
    optimizer = seqx_training.Adam().build(step)

    def run_out_of_memory(*_: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr("seqx.training.loop.create_optimizer_state", run_out_of_memory)
    with pytest.raises(UserError, match="the first update: cpu is out of memory in the step of the opti"):
        rehearse(accumulation(step), optimizer, next(update_batches(WHOLE)))
