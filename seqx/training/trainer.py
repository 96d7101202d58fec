"""A run from its first to its last update: when to validate, save, go back and stop."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path

import click
import pluggy
import torch

from seqx.data.batches import Batches
from seqx.data.loader import BatchLoader, Position
from seqx.errors import OomRestartError, UserError
from seqx.interfaces.scores import Evaluation, Score, ValidationScore
from seqx.parallel import World
from seqx.plugin.blame import attributed
from seqx.runtime.random_state import all_random_states, set_all_random_states
from seqx.runtime.signals import Stopped
from seqx.training.checkpointer import Checkpointer
from seqx.training.ema import Average
from seqx.training.gradient_accumulation import GradientAccumulation
from seqx.training.loop import rehearse, updates
from seqx.training.notices import Notices
from seqx.training.progress import ProgressTracker, StopFlags, patience_is_over
from seqx.training.recovery.divergence import Divergence, DivergenceDetector
from seqx.training.recovery.rollback import Rollback
from seqx.training.run_info import Run
from seqx.training.selection import WriteModel, select_model
from seqx.training.update import Update
from seqx.training.validation import Validator


class Trainer:
    """Make the updates of a run, and do what is due between them.

    Args:
        run: as callbacks see it
        progress: of the run, shared with the other parts
        average: the exponential moving average of the weights, if there is one
        flags: the reasons to interrupt training
        notices: gets the warnings
        events: of the callbacks
    """

    def __init__(
        self,
        run: Run,
        progress: ProgressTracker,
        *,
        accumulation: GradientAccumulation,
        optimizer: torch.optim.Optimizer,
        average: Average | None,
        batches: Batches,
        checkpointer: Checkpointer,
        validator: Validator,
        detector: DivergenceDetector,
        rollback: Rollback,
        flags: StopFlags,
        notices: Notices,
        events: pluggy.HookRelay,
        world: World,
    ) -> None:
        self.run = run
        self._config = run.training
        self._progress = progress
        self._accumulation = accumulation
        self._optimizer = optimizer
        self._average = average
        self._batches = batches
        self._checkpointer = checkpointer
        self._validator = validator
        self._detector = detector
        self._rollback = rollback
        self._flags = flags
        self._notices = notices
        self._events = events
        self._world = world

    def train(self) -> None:
        """Make the updates that are still to be made.

        Raises:
            Stopped: a signal asked for it; the run goes on from what was saved
            UserError: training diverged, or a device is out of memory
        """
        self._validator.check_data()
        self._start()
        self._flags.saved()
        self._flags.sync()
        if (self._progress.now.pending or self._last_save_missing()) and self._validate_and_save():
            return
        if self._progress.step >= self._config.steps or self._patience_is_over():
            return
        self._warn_if_rate_rises()
        try:
            if self._accumulation.device.type == "cuda":  # show out-of-memory errors at once
                largest = self._batches.largest_update(self._progress.now.epoch)
                if rehearse(self._accumulation, self._optimizer, largest):
                    self._warn_low_memory("the largest update")
            while divergence := self._make_updates():
                self._go_back(divergence)
                if self._progress.now.pending and self._validate_and_save():
                    return
        except OomRestartError as error:
            self._accumulation.limit.save(error.padded_tokens)
            raise

    def select_model(self, folder: Path, write_model: WriteModel) -> Evaluation | None:
        """Write the best of average, last and best checkpoint into `folder`; see `select_model`."""
        if self._world.is_rank_zero and self._detector.may_diverge:  # then `_save` has kept all checkpoints
            self._checkpointer.prune(self._config.keep_checkpoints, select=self._config.order)
        return select_model(
            self._config,
            self._checkpointer.checkpoints,
            self._validator,
            self._world,
            folder=folder,
            write_model=write_model,
            warn=self._notices.warn,
        )

    def test(
        self, dev: Evaluation | None, write_outputs: Callable[[str, Evaluation], None]
    ) -> Mapping[str, Mapping[str, Score]]:
        """Score the finished model on the development and test sets; see `Validator.test`."""
        scores = self._validator.test(self.run, dev, write_outputs)
        self._events.finished(run=self.run, scores=scores)
        return scores

    @contextmanager
    def report_failure(self) -> Iterator[None]:
        """Tell callbacks of any error that ends the block."""
        try:
            yield
        except BaseException as error:
            try:
                self._events.failed(run=self.run, error=error)
            except Exception as another:  # noqa: BLE001  of a callback; it must not replace the run's error
                if not isinstance(error, UserError):  # which often has the same cause and is reported
                    click.echo(attributed(another) or str(another), err=True)
            raise

    def _start(self) -> None:
        """Tell callbacks where training starts, and why it went back to this checkpoint, if it did."""
        self._notices.start(self.run, self._rollback.skipped.messages(self._progress.step))

    def _warn_if_rate_rises(self) -> None:
        steps, schedule = self._config.steps, self._config.schedule
        if steps > 1 and schedule(steps, steps) > schedule(steps - 1, steps):
            self._notices.warn(
                "training.schedule: the learning rate still rises at the last update; a shorter warm-up lets "
                "it come down"
            )

    def _warn_low_memory(self, update: str) -> None:
        self._notices.warn_once(
            "memory",
            f"{update} did not fit into memory, and was computed again with smaller microbatches; if that "
            "happens often, set a smaller training.microbatch to save time (this warning comes once)",
        )

    def _make_updates(self) -> Divergence | None:
        """Make the updates that are still to be made, until training diverges or ends."""
        now, steps = self._progress.now, self._config.steps
        with BatchLoader(
            self._batches,
            Position(now.epoch, now.index),
            skip=self._rollback.skipped.positions,
            device=self._accumulation.device,
            while_blocked=self._accumulation.strategy.waiting,
        ) as batches:
            stream = updates(
                self._accumulation,
                self._optimizer,
                partial(self._config.schedule, steps=steps),
                batches,
                clip=self._config.clip,
                done=now.step,
            )
            with closing(stream):
                divergence = self._consume_updates(islice(stream, steps - now.step))
        self._world.enter_stage("finishing")
        return divergence

    def _consume_updates(self, stream: Iterator[Update]) -> Divergence | None:
        """Record each update, and do what is due after it."""
        started, before = time.monotonic(), self._progress.now.seconds
        for update in stream:
            if self._average is not None:
                self._average.follow(update.skipped)
            self._progress.add_update(update, seconds=before + time.monotonic() - started)
            self._accumulation.strategy.update_finished()
            self._events.updated(run=self.run, update=update)
            if update.oom_retries:
                self._warn_low_memory(f"update {update.step}")
            divergence = self._detector.add(update)
            due = self._is_due()
            if divergence is None and due:
                # Never validate or save before the divergence check has caught up.
                divergence = self._detector.flush()
            if divergence is not None:
                return divergence
            if due and self._validate_and_save():
                break
        return None

    def _go_back(self, divergence: Divergence) -> None:
        """Go back to a checkpoint from before the divergence, and start again from there."""
        progress = self._rollback.go_back(divergence)
        self._progress.restore(progress)
        self.run = self.run.started_at(progress, self._checkpointer.checkpoints.path(progress.step))
        self._start()

    def _is_due(self) -> bool:
        """Return true if a validation or a checkpoint is due after this update (collective)."""
        config, step = self._config, self._progress.step
        self._flags.sync()
        scheduled = step == config.steps or step % config.validate_every == 0 or step % config.save_every == 0
        return scheduled or self._flags.interrupts

    def _last_save_missing(self) -> bool:
        """Return true if this update has become the last one, but its checkpoint may not be selected."""
        step = self._progress.step
        if step != self._config.steps:
            return False
        checkpoints = self._checkpointer.checkpoints
        return not self._world.broadcast(checkpoints.info(step).ranked if self._world.is_rank_zero else False)

    def _validate_and_save(self) -> bool:
        """Do what is due after an update; return true if training ends here.

        Raises:
            Stopped: a signal asked for it; a run that goes on from what was saved makes the same updates
        """
        config, step = self._config, self._progress.step
        self._progress.set_pending(pending=False)
        last = step == config.steps
        validates = (last or step % config.validate_every == 0) and "dev" in self._validator.task.available
        score = self._validate_unless_stopped() if validates else None
        over = self._patience_is_over()
        # A checkpoint can only be selected as one of the best if it was both validated and saved.
        selectable = config.order == "best" and score is not None
        if last or over or selectable or step % config.save_every == 0:
            self._save(ranked=True, score=score)
            self._flags.sync()  # a signal may have come since
        elif self._flags.interrupts:
            self._save(ranked=False, score=None)
        self._flags.raise_if_stopped()
        return over

    def _validate_unless_stopped(self) -> ValidationScore:
        """Validate. If a signal interrupts it, save the state before it, and that it is still to be done."""
        random = all_random_states()
        try:
            self._flags.raise_if_stopped()
            return self._validator.validate(self.run)
        except Stopped:
            set_all_random_states(random)  # a search may have drawn random numbers
            self._progress.set_pending(pending=True)
            self._save(ranked=False, score=None)
            raise

    def _patience_is_over(self) -> bool:
        return patience_is_over(self._progress.now, self._config.patient)

    def _save(self, *, ranked: bool, score: ValidationScore | None) -> None:
        path = self._checkpointer.save(self._progress.now, ranked=ranked, validation_score=score)
        if (
            self._world.is_rank_zero and not self._detector.may_diverge
        ):  # else a rollback may need any of them
            self._checkpointer.prune(self._config.keep_checkpoints, select=self._config.order)
        self._world.barrier()
        self._flags.saved()
        if not self._progress.now.pending:  # else this update is saved again after its validation
            self._events.saved(run=self.run, step=self._progress.step, path=path)
