"""The gradient of one update: forward and backward passes over its microbatches, and out-of-memory errors."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from seqx.data.loader import Microbatch, UpdateBatch
from seqx.errors import OomRestartError, UserError
from seqx.interfaces.tensors import Batch
from seqx.parallel.parallelism import Parallelism
from seqx.runtime.devices import autocast, raise_torch_oom
from seqx.training.recovery.memory_limit import MicrobatchLimit


def name_examples(examples: Sequence[int]) -> str:
    """Return text that names examples by their numbers, for messages."""
    return ", ".join(f"example {number}" for number in examples)


class Flags(Protocol):
    """Numbers that ranks exchange in each update: every rank receives the maximum of each number."""

    def own_flags(self) -> list[int]:
        """Return the numbers of this rank."""
        ...

    def receive(self, numbers: Sequence[int]) -> None:
        """Receive the maximum of each number over all ranks."""
        ...


class NoFlags:
    """The flags of a process that has no numbers to exchange."""

    def own_flags(self) -> list[int]:
        """Return no numbers."""
        return []

    def receive(self, numbers: Sequence[int]) -> None:
        """Do nothing."""


class Sums(NamedTuple):
    """The sums of the objective over an update, and the counts that divide them."""

    sums: dict[str, Tensor]  # on the device
    counts: Counter[str]
    oom_retries: int


@dataclass(frozen=True, kw_only=True)
class GradientAccumulation:
    """The computation of the gradient of each update, one microbatch after another.

    If a microbatch does not fit into memory, it is split in halves, and the update is computed again.

    Args:
        strategy: computes the objective, and exchanges gradients between ranks
        device: the device of this rank
        precision: the precision of matrix products
        limit: the smallest microbatch size that did not fit into memory, if there is one
        flags: numbers that ranks exchange together with their out-of-memory errors
        describe: returns a description of examples for messages, given their numbers in the store
    """

    strategy: Parallelism
    device: torch.device
    precision: Literal["bf16", "fp32"]
    limit: MicrobatchLimit = field(default_factory=MicrobatchLimit)
    flags: Flags = field(default_factory=NoFlags)
    describe: Callable[[Sequence[int]], str] = name_examples

    def accumulate_gradients(self, batch: UpdateBatch, update: str, *, sync: bool = True) -> Sums:
        """Add up the gradients of an update's microbatches in the parameters' `grad`.

        Each sum of the objective is divided once, by its count over the whole update (see
        `Parallelism.loss_counts`), so that the result does not depend on the microbatches.

        Args:
            batch: the examples of this rank
            update: the name of the update in messages, such as "update 7"
            sync: add up the gradients of all ranks; false: leave each rank with its own

        Raises:
            OomRestartError: the ranks cannot compute the update again; restart the run to continue
            UserError: a single example does not fit into memory
        """
        strategy = self.strategy
        microbatches = split_to_fit(batch.microbatches, self.limit)
        with oom_as_restart(update, self.device, microbatches):
            batches = [microbatch.batch for microbatch in microbatches]
            counts = strategy.global_counts(batches)
            divisors = strategy.loss_counts(batches, counts)
        oom_retries = 0
        while True:
            sums, too_large = self._run_microbatches(microbatches, batch.dummy, divisors, sync=sync)
            if too_large is not None:
                self._check_splittable(too_large, update)
                with oom_as_restart(update, self.device, [too_large]):
                    strategy.abort_update(sync=sync)
            elif sync:
                strategy.check_all_grads()
            if not self._any_rank_failed(too_large is not None):
                return Sums(strategy.reduce_sums(sums) if sync else sums, counts, oom_retries)
            strategy.drop_gradients()
            with oom_as_restart(update, self.device, microbatches):
                strategy.reset_after_oom()
            oom_retries += 1
            if too_large is not None:
                self.limit.lower(too_large.padded_tokens)
                microbatches = split_to_fit(microbatches, self.limit)

    def _run_microbatches(
        self,
        microbatches: list[Microbatch],
        dummy: Microbatch | None,
        divisors: Mapping[str, int],
        *,
        sync: bool,
        least: int = 0,
    ) -> tuple[dict[str, Tensor], Microbatch | None]:
        """Return the sums over the microbatches, or the first microbatch that does not fit into memory.

        With `sync` the gradients of all ranks are added up during the last microbatch. A rank with fewer
        microbatches than it must run, or than `least`, computes the dummy with weight 0.
        """
        sums: dict[str, Tensor] = {}
        weighted = [(microbatch, 1.0) for microbatch in microbatches]
        num_dummies = max(least, self.strategy.num_microbatches(len(microbatches))) - len(microbatches)
        if num_dummies:
            assert dummy is not None, "an update that ranks share has a dummy microbatch"
            weighted += [(dummy, 0.0)] * num_dummies
        for number, (microbatch, weight) in enumerate(weighted, 1):
            last = number == len(weighted)
            try:
                with raise_torch_oom(), self.strategy.gradient_sync(last=sync and last):
                    self._backward(microbatch.batch, weight, divisors, sums)
            except torch.OutOfMemoryError:
                return {}, microbatch
        return sums, None

    def _backward(
        self, batch: Batch, weight: float, divisors: Mapping[str, int], sums: dict[str, Tensor]
    ) -> None:
        """Add the gradients of a batch to the parameters' `grad`, and the terms of its loss to `sums`."""
        with autocast(self.device, self.precision):
            terms = self.strategy(batch.to(self.device))
        trained_on = self.strategy.step.objective.trained_on
        loss = sum(weight * terms[name] / max(1, divisors[name]) for name in trained_on)
        assert isinstance(loss, Tensor), "an objective has at least one sum in trained_on"
        loss.backward()  # type: ignore[no-untyped-call]
        for name, term in terms.items():
            sums[name] = sums.get(name, 0) + weight * term.detach()

    def _any_rank_failed(self, failed: bool) -> bool:
        """Return true if a microbatch of any rank did not fit; exchange the stop flags, too (collective)."""
        with self.strategy.waiting():
            any_failed, *flags = self.strategy.max_over_ranks([int(failed), *self.flags.own_flags()])
        self.flags.receive(flags)
        return bool(any_failed)

    def _check_splittable(self, microbatch: Microbatch, update: str) -> None:
        if microbatch.num_rows == 1:
            row = "a single example" if len(microbatch.examples) == 1 else "a single row of examples"
            raise UserError(
                f"{update}: {self.device} is out of memory with {row}: "
                f"{self.describe(microbatch.examples.tolist())}; make the model smaller, or leave out long "
                "examples (with the task's setting `max_length`, if it has one)"
            )


@contextmanager
def oom_as_restart(update: str, device: torch.device, microbatches: list[Microbatch]) -> Iterator[None]:
    """Turn an out-of-memory error in the block into a request to restart with smaller microbatches.

    In the block the other ranks wait for this one, so the update cannot simply be computed again.
    """
    try:
        with raise_torch_oom():
            yield
    except torch.OutOfMemoryError:
        splittable = [each.padded_tokens for each in microbatches if each.num_rows > 1]
        if not splittable:
            raise UserError(
                f"{update}: {device} is out of memory: the model and its gradients do not fit; make the "
                "model smaller, or shard it over more devices with training.parallel=fsdp"
            ) from None
        raise OomRestartError(
            f"{update}: {device} is out of memory with {max(splittable)} padded tokens per pass; "
            "run the same command again to continue with smaller microbatches (seqx run --devices and "
            "torchrun --max-restarts do this automatically)",
            max(splittable),
        ) from None


def split_to_fit(microbatches: list[Microbatch], limit: MicrobatchLimit) -> list[Microbatch]:
    """Halve microbatches that are too large until each one fits the limit or has a single row."""
    bound = limit.padded_tokens or math.inf
    while True:
        halves = [
            half
            for microbatch in microbatches
            for half in (microbatch.halves() if microbatch.padded_tokens >= bound else [microbatch])
        ]
        if len(halves) == len(microbatches):
            return microbatches
        microbatches = halves
