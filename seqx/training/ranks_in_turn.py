"""The gradients of an update of several ranks, computed by one process."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor

from seqx.data.batches import Batches
from seqx.data.loader import Microbatch, UpdateBatch
from seqx.runtime.random_state import random_state, set_random_state
from seqx.training.gradient_accumulation import GradientAccumulation, Sums


@dataclass(frozen=True, kw_only=True)
class RanksInTurn(GradientAccumulation):
    """A computation of the gradients of all ranks of a run, one rank after another.

    Each rank has its microbatches and its random numbers, as in the run. Sums and gradients are added up in
    another order than by several processes, so their last bits may differ.

    Args:
        batches: the batches of the run
        processes: the number of ranks
        random_states: the random state of each rank, which every update replaces
        lockstep: all ranks ran as many microbatches as the one with the most, as with sharded parameters; the
            dummies of the others drew random numbers, too
    """

    batches: Batches
    processes: int
    random_states: list[Mapping[str, Tensor]]
    lockstep: bool = False
    _ranks: dict[int, int] = field(init=False, repr=False, default_factory=dict)  # of the current examples

    def accumulate_gradients(self, batch: UpdateBatch, update: str, *, sync: bool = True) -> Sums:
        """Add up the gradients of the microbatches of all ranks; see the base class."""
        parts = rank_batches(self.batches, batch, self.processes)
        self._ranks.clear()
        self._ranks.update(
            (int(example), rank)
            for rank, part in enumerate(parts)
            for microbatch in part.microbatches
            for example in microbatch.examples
        )
        microbatches = [microbatch for part in parts for microbatch in part.microbatches]
        whole = replace(batch, microbatches=microbatches, dummy=parts[0].dummy)
        return super().accumulate_gradients(whole, update, sync=sync)

    def _run_microbatches(
        self,
        microbatches: list[Microbatch],
        dummy: Microbatch | None,
        divisors: Mapping[str, int],
        *,
        sync: bool,
        least: int = 0,
    ) -> tuple[dict[str, Tensor], Microbatch | None]:
        total: dict[str, Tensor] = {}
        ranks = [self._ranks[int(each.examples[0])] for each in microbatches]
        if self.lockstep:
            least = max(map(ranks.count, ranks), default=0)
        for rank in range(self.processes):
            own = [each for each, its_rank in zip(microbatches, ranks, strict=True) if its_rank == rank]
            set_random_state(self.random_states[rank], self.device)
            sums, too_large = super()._run_microbatches(own, dummy, divisors, sync=sync, least=least)
            self.random_states[rank] = random_state(self.device)
            if too_large is not None:
                return {}, too_large
            total = {name: total.get(name, 0) + value for name, value in sums.items()}
        return total, None


def rank_batches(batches: Batches, update: UpdateBatch, processes: int) -> list[UpdateBatch]:
    """Return the batch of each rank for an update."""
    at = update.position
    plan = batches.plan(at.epoch)
    return [
        replace(batches, rank=rank, world_size=processes).update_batch(plan, at) for rank in range(processes)
    ]
