"""Restore an earlier checkpoint after training has diverged, and skip the batches that caused it."""

import shlex
from pathlib import Path
from typing import Literal

import click

from seqx.data.batches import Batches
from seqx.errors import UserError
from seqx.parallel.parallelism import Parallelism
from seqx.storage.checkpoint_info import TrainingProgress
from seqx.training.checkpointer import Checkpointer
from seqx.training.notices import Notices
from seqx.training.recovery.divergence import Divergence, DivergenceDetector
from seqx.training.recovery.skipped_batches import SkippedBatches, remove_later_checkpoints
from seqx.training.recovery.worst_examples import describe_examples, worst_examples


class Rollback:
    """The rollback to a checkpoint from before a divergence.

    Args:
        checkpointer: restores the checkpoint
        detector: detects divergences; it must forget the updates that are undone
        folder: the run folder, where the batches that are skipped from then on are recorded
        max_rollbacks: the number of rollbacks after which a further divergence ends the run
        batches: the batches of the run
        strategy: computes the gradients of single examples for the error message; has the ranks
        precision: the precision of matrix products
        notices: holds warnings back until training starts again
    """

    def __init__(
        self,
        checkpointer: Checkpointer,
        detector: DivergenceDetector,
        folder: Path,
        *,
        max_rollbacks: int,
        batches: Batches,
        strategy: Parallelism,
        precision: Literal["bf16", "fp32"],
        notices: Notices,
    ) -> None:
        self.skipped = SkippedBatches(folder)
        self._folder = folder
        self._checkpointer = checkpointer
        self._detector = detector
        self._max_rollbacks = max_rollbacks
        self._batches = batches
        self._strategy = strategy
        self._precision: Literal["bf16", "fp32"] = precision
        self._world = strategy.world
        self._notices = notices

    def roll_back(self, divergence: Divergence) -> TrainingProgress:
        """Restore the last checkpoint from before the divergence; return its progress.

        Raises:
            UserError: there is no such checkpoint, or the run has made `max_rollbacks` rollbacks already
        """
        first = divergence.updates[0]
        self._check_possible(divergence)
        self._notices.hold()
        self._detector.reset()
        progress = self._checkpointer.resume(before=first.step)
        count = len(divergence.updates)
        batches = "the batch of 1 update" if count == 1 else f"the batches of {count} updates"
        message = (
            f"{divergence}; rolling back to the checkpoint of update {progress.step}, and skipping {batches}"
        )
        if self._world.is_rank_zero:
            click.echo(f"{message} (`{self._replay(first.step)} --undone` shows the sentences)", err=True)
            remove_later_checkpoints(progress.step, self._checkpointer.checkpoints)
        self.skipped.add(divergence, back_to=progress.step, message=message, write=self._world.is_rank_zero)
        return progress

    def _check_possible(self, divergence: Divergence) -> None:
        first = divergence.updates[0]
        earlier = [step for step in self._checkpointer.checkpoints.steps() if step < first.step]
        if not self._world.broadcast(earlier):
            reason = "there is no earlier checkpoint to roll back to"
        elif self.skipped.rollbacks >= self._max_rollbacks:
            reason = f"no rollback is left (training.max_rollbacks={self._max_rollbacks})"
        else:
            return
        raise UserError(f"{divergence}; {reason}. {self._advice(divergence)}")

    def _advice(self, divergence: Divergence) -> str:
        """Return text that names the examples that may be the cause, and says what to do."""
        first, batches = divergence.updates[0], self._batches.for_single_device()
        with self._strategy.gradient_sync(last=False):
            examples = worst_examples(
                self._strategy.step,
                batches,
                first.at,
                device=self._strategy.device,
                precision=self._precision,
            )
        return (
            f"Of the examples of update {first.step} these have the largest gradients: "
            f"{describe_examples(self._batches.store, examples)}. `{self._replay(first.step)} --exact` shows "
            "all its sentences, their losses and gradients. Correct them if they are wrong; "
            "otherwise lower the learning rate (training.schedule), set training.clip, or set "
            "training.precision=fp32"
        )

    def _replay(self, step: int) -> str:
        """Return the command that shows the sentences of an update."""
        return f"seqx replay {shlex.quote(str(self._folder))} {step}"
