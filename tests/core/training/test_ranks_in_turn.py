"""One process computes the microbatches of all ranks, each with the random numbers of its rank."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from seqx.data.batches import Batches
from seqx.data.loader import Position
from seqx.data.prepare import prepare
from seqx.interfaces.learning import Objective
from seqx.interfaces.networks import Model
from seqx.interfaces.tensors import Batch
from seqx.parallel.parallelism import SingleDevice, Step
from seqx.runtime.random_state import random_state, set_random_state
from seqx.training.ranks_in_turn import RanksInTurn, rank_batches
from tests.core.data.pairs import Pairs, rows
from tests.core.training.test_loop import CPU
from tests.core.training.test_worst_examples import LargeTable


class Dropout(Objective):
    """The squares of the target's embeddings after dropout."""

    def forward(self, model: Model, batch: Batch) -> Mapping[str, Tensor]:
        target = batch.columns["target"]
        dropped = F.dropout(model.table(target.values), 0.5)  # type: ignore[operator]
        return {"loss": (dropped.square().mean(-1) * target.layout.keep).sum()}


@pytest.mark.parametrize("lockstep", [False, True])
@pytest.mark.parametrize("processes", [2, 3, 60])  # most of 60 ranks have no examples
def test_ranks_in_turn_add_up_the_gradients_of_all_ranks(
    processes: int, lockstep: bool, tmp_path: Path
) -> None:
    store = prepare(Pairs({"train": rows(100)}), "train", {}, tmp_path)
    batches, at = Batches(store=store, tokens=300, microbatch=60), Position(0, 1)
    update = batches.update_batch(batches.plan(0), at)
    parts = rank_batches(batches, update, processes)
    assert sorted(i for part in parts for each in part.microbatches for i in each.examples) == sorted(
        i for each in update.microbatches for i in each.examples
    )
    states = []
    for rank in range(processes):
        torch.manual_seed(rank)
        states.append(random_state(CPU))

    step = Step(LargeTable(), Dropout())
    expected, after = torch.zeros(()), list[Tensor]()
    counts = [len(part.microbatches) for part in parts]
    assert (min(counts) < max(counts)) == (processes > 2)
    for part, state in zip(parts, states, strict=True):
        set_random_state(state, CPU)
        for microbatch in part.microbatches:
            expected = expected + step(microbatch.batch)["loss"]
        for _ in range(len(part.microbatches), max(counts) if lockstep else 1):
            assert part.dummy is not None
            step(part.dummy.batch)  # with weight 0; its dropout draws random numbers
        after.append(torch.get_rng_state())
    (expected / update.target_tokens).backward()  # type: ignore[no-untyped-call]
    gradients = [p.grad.clone() for p in step.parameters() if p.grad is not None]
    step.zero_grad()

    accumulation = RanksInTurn(
        strategy=SingleDevice.of(step, CPU),
        device=CPU,
        precision="fp32",
        batches=batches,
        processes=processes,
        random_states=[*states],
        lockstep=lockstep,
    )
    sums = accumulation.accumulate_gradients(update, "update 2")
    torch.testing.assert_close(sums.sums["loss"], expected.detach())
    assert sums.counts["loss"] == update.target_tokens
    torch.testing.assert_close([p.grad for p in step.parameters() if p.grad is not None], gradients)
    assert all(
        torch.equal(state["cpu"], own) for state, own in zip(accumulation.random_states, after, strict=True)
    )
