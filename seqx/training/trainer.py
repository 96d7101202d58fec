"""Make the updates of a run; validate, save, roll back to a checkpoint and stop when that is due."""

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
from seqx.errors import NotFiniteError, OomRestartError, UserError
from seqx.interfaces.scores import Evaluation, Score, ValidationScore
from seqx.parallel import World
from seqx.plugin.blame import message_naming_plugin
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
    """The trainer of a run: it makes updates, validates and saves between them, and selects the final model.

    Args:
        run: the description of the run for callbacks
        progress: the progress of the run, shared with the other parts of training
        average: the exponential moving average of the weights, if there is one
        flags: the reasons to interrupt training
        notices: prints warnings, and passes them to callbacks
        events: the events of the callbacks
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
        """Make the remaining updates.

        Raises:
            Stopped: a signal asked the run to stop; a checkpoint was saved, and the run can be resumed
            UserError: training diverged, or a device is out of memory
        """
        self._validator.check_data()
        self._start()
        self._flags.restart_minutes()
        self._flags.sync()
        if (self._progress.now.pending or self._last_save_missing()) and self._validate_and_save():
            return
        now = self._progress.now
        if now.step >= self._config.steps or patience_is_over(now, self._config.early_stopping):
            return
        if warning := self._config.schedule_warning():
            self._notices.warn(warning)
        try:
            if self._accumulation.device.type == "cuda":  # find out-of-memory errors at once
                largest = self._batches.largest_update(now.epoch)
                if rehearse(self._accumulation, self._optimizer, largest):
                    self._warn_low_memory("the largest update")
            while divergence := self._make_updates():
                self._roll_back(divergence)
                if self._progress.now.pending and self._validate_and_save():
                    return
        except OomRestartError as error:
            self._accumulation.limit.save(error.padded_tokens)
            raise

    def select_model(self, folder: Path, write_model: WriteModel) -> Evaluation | None:
        """Write the candidate with the best score as the model into `folder`; see `selection`."""
        if self._world.is_rank_zero:  # `_save` may have kept all checkpoints, or was killed before it pruned
            self._checkpointer.prune(self._config.keep_checkpoints, order=self._config.order)
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
        with self._validator.predictor() as predictor:
            self._events.finished(run=self.run, scores=scores, predictor=predictor)
        return scores

    @contextmanager
    def report_failure(self) -> Iterator[None]:
        """Notify callbacks of an error in the block, and raise it again.

        If another rank is dead, callbacks get the message about that rank.
        """
        self._world.report_end_to(self._notify_of_failure)
        try:
            yield
        except BaseException as error:
            self._world.record_end(error)
            self._notify_of_failure(error)
            raise

    def _notify_of_failure(self, error: BaseException) -> None:
        try:
            self._events.failed(run=self.run, error=error)
        except Exception as another:  # noqa: BLE001  a callback's error must not replace the run's
            if not isinstance(error, UserError):  # a UserError is reported, and often has the same cause
                click.echo(message_naming_plugin(another) or str(another), err=True)

    def _start(self) -> None:
        """Notify callbacks of the start, and of rollbacks to the checkpoint from which the run resumes."""
        self._notices.start(self.run, self._rollback.skipped.messages(self._progress.step))

    def _warn_low_memory(self, update: str) -> None:
        self._notices.warn_once(
            "memory",
            f"{update} did not fit into memory, and was computed again with smaller microbatches; if that "
            "happens often, set a smaller training.microbatch to save time (this warning is shown once)",
        )

    def _make_updates(self) -> Divergence | None:
        """Make the remaining updates; return the divergence that interrupts them, or None."""
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
        """Record each update, validate and save when that is due; return a divergence, or None."""
        started, before = time.monotonic(), self._progress.now.seconds
        for update in stream:
            if self._average is not None:
                self._average.add_weights(update.skipped)
            self._progress.add_update(update, seconds=before + time.monotonic() - started)
            self._events.updated(run=self.run, update=update)
            if update.oom_retries:
                self._warn_low_memory(f"update {update.step}")
            divergence = self._detector.add(update)
            due = self._is_due()
            if divergence is None and due:
                # The check for divergence lags behind, and must include this update before it is saved.
                divergence = self._detector.flush()
            if divergence is not None:
                return divergence
            try:
                if due and self._validate_and_save():
                    break
            except NotFiniteError:  # the weights that made the last updates non-finite cannot be validated
                if self._detector.skipped is None:
                    raise
                return self._detector.skipped
        return None

    def _roll_back(self, divergence: Divergence) -> None:
        """Restore a checkpoint from before the divergence, and start again from it."""
        progress = self._rollback.roll_back(divergence)
        self._progress.restore(progress)
        self.run = self.run.started_at(progress, self._checkpointer.checkpoints.path(progress.step))
        self._start()

    def _is_due(self) -> bool:
        """Return true if a validation or a checkpoint is due after this update."""
        config, step = self._config, self._progress.step
        if self._world.size == 1:  # several ranks have exchanged their flags during the update
            self._flags.sync()
        scheduled = step == config.steps or step % config.validate_every == 0 or step % config.save_every == 0
        return scheduled or self._flags.interrupts

    def _last_save_missing(self) -> bool:
        """Return true if `steps` was reduced to an update whose checkpoint only serves to resume."""
        step = self._progress.step
        return step == self._config.steps and not self._checkpointer.is_ranked(step)

    def _validate_and_save(self) -> bool:
        """Validate and save, if that is due after this update; return true if training ends here.

        Raises:
            Stopped: a signal asked the run to stop; after resuming, it makes the same updates as otherwise
        """
        config, step = self._config, self._progress.step
        self._progress.set_pending(pending=False)
        last = step == config.steps
        validates = (last or step % config.validate_every == 0) and "dev" in self._validator.task.available
        score = self._validate_unless_stopped() if validates else None
        over = patience_is_over(self._progress.now, config.early_stopping)
        # Only a checkpoint that was validated can be selected as one of the best.
        selectable = config.order == "best" and score is not None
        if last or over or selectable or step % config.save_every == 0:
            self._save(ranked=True, score=score)
            self._flags.sync()  # a signal may have arrived in the meantime
        elif self._flags.interrupts:
            self._save(ranked=False, score=None)
        self._flags.raise_if_stopped()
        return over

    def _validate_unless_stopped(self) -> ValidationScore:
        """Validate. If a signal interrupts the validation, save a checkpoint with the validation pending."""
        random = all_random_states()
        try:
            self._flags.raise_if_stopped()
            return self._validator.validate(self.run)
        except Stopped:
            set_all_random_states(random)  # a search may have drawn random numbers
            self._progress.set_pending(pending=True)
            self._save(ranked=False, score=None)
            raise

    def _save(self, *, ranked: bool, score: ValidationScore | None) -> None:
        path = self._checkpointer.save(self._progress.now, ranked=ranked, validation_score=score)
        # If training may be diverging, keep all checkpoints: a rollback may need any of them.
        if self._world.is_rank_zero and not self._detector.may_diverge:
            self._checkpointer.prune(self._config.keep_checkpoints, order=self._config.order)
        self._world.barrier()
        self._flags.restart_minutes()
        if not self._progress.now.pending:  # otherwise this update is saved again after its validation
            self._events.saved(run=self.run, step=self._progress.step, path=path)
