"""A run between its first and its last update: when to look, save and stop, and which weights to keep."""

import signal
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

import click
import pluggy
import torch
from torch import Tensor

from seqx.data.batches import Batches, Position
from seqx.data.loader import BatchLoader
from seqx.errors import OomRestartError, UserError
from seqx.inference import Predictor, evaluate
from seqx.interfaces.learning import Callback, Search
from seqx.interfaces.scores import ValidationScore
from seqx.interfaces.text import Task
from seqx.interfaces.values import Evaluation, Score
from seqx.parallel import World
from seqx.parallel.strategy import Strategy
from seqx.plugin.blame import attributed
from seqx.plugin.loading import Plugins
from seqx.recipe import Configured
from seqx.run_folder import RunFolder
from seqx.runtime.devices import raise_torch_oom
from seqx.runtime.random_state import (
    all_random_states,
    random_state,
    set_all_random_states,
    set_random_state,
)
from seqx.runtime.signals import Stopped, StopRequest
from seqx.storage.checkpoint_info import TrainingProgress
from seqx.storage.checkpoints import Checkpoints
from seqx.storage.weights import WEIGHTS, average, read_weights
from seqx.training.candidates import Candidate, candidates, in_order
from seqx.training.candidates import write as write_compared
from seqx.training.ema import Average
from seqx.training.gradient_accumulation import GradientAccumulation
from seqx.training.loop import rehearse, updates
from seqx.training.patience import is_over, validated
from seqx.training.recovery.data_fingerprint import HELD_OUT, DataFingerprint
from seqx.training.recovery.divergence import Divergence, DivergenceDetector
from seqx.training.recovery.memory_limit import MicrobatchLimit
from seqx.training.recovery.skipped_batches import SkippedBatches, forget_after
from seqx.training.recovery.worst_examples import named, worst_examples
from seqx.training.run_info import Run
from seqx.training.update import Update

DIGESTS = "data.json"
"""In a run's folder: the digests of the text that it began with."""

PASSED_OVER = "passed_over.json"
"""In a run's folder, once it went back to a checkpoint: which batches it does without, and why."""

LIMIT = "limit.json"
"""In a run's folder, once all processes had to begin again: what was too much for the memory of one."""

RANDOM = "distributed.random"
"""Under which a checkpoint has the random states of each process, where there were several."""


class Trainer:
    """Trains, validates, saves, and chooses what becomes the model."""

    run: Run  # set once it is known where to go on
    digests: DataFingerprint  # set when training begins

    def __init__(
        self,
        *,
        task: Task,
        search: Search,
        optimizer: torch.optim.Optimizer,
        average: Average | None,
        watch: DivergenceDetector,
        batches: Batches,
        checkpoints: Checkpoints,
        callbacks: Sequence[Callback],
        device: torch.device,
        tell: pluggy.HookRelay,
        stop: StopRequest,
        world: World,
        strategy: Strategy,
    ) -> None:
        self.task = task
        self.search = search
        self.step = strategy.step
        self.optimizer = optimizer
        self.average = average
        self.watch = watch
        # What is validated, saved, and becomes the result.
        self.model = strategy.model if average is None else average.model
        self.batches = batches
        self.checkpoints = checkpoints
        self.device = device
        self.tell = tell
        self.stop = stop
        self.world = world
        self.strategy = strategy
        self.progress = TrainingProgress()
        self._fresh = torch.get_rng_state()  # that of this process's own seed
        self._saved = 0.0  # when, by the clock that only goes forward
        self._told = False  # that memory is short
        self._started = False  # whether callbacks know of the run
        self._early: list[str] = []  # warnings from before that
        self._bounded: set[str] = set()  # splits whose examples that are too long were reported
        self._asked: signal.Signals | None = None  # what asked any of the processes to stop
        self._late = False  # whether it is time to save
        self._scored: Evaluation | None = (
            None  # of the finished model on the development set, if it was computed
        )
        # What has a state besides the model, under its path in the recipe.
        self.stateful: dict[str, Any] = {
            "training.objective": strategy.step.objective,
            "training.optimizer": optimizer,
            "training.watch": watch,
        }
        if average is not None:
            self.stateful["training.ema"] = average
        # Callbacks may be added, left out and reordered between starts, so that these go by their class.
        for callback in callbacks:
            if hasattr(callback, "state_dict"):
                name = f"callbacks.{type(callback).__qualname__}"
                alike = sum(path.partition("#")[0] == name for path in self.stateful)
                self.stateful[f"{name}#{alike + 1}" if alike else name] = callback

    def resume(self, before: int | None = None) -> TrainingProgress:
        """Go on from the newest checkpoint, of updates `before` one, that is whole, if there is one."""
        found = self._newest(before)
        if found is not None:
            self.progress, states = found
            for path in self.stateful.keys() & states.keys():
                self._restore(path, states[path])
            self.strategy.load_full_model()
            self._draw_on(states.get(RANDOM, []))
        return self.progress

    def _restore(self, path: str, state: Any) -> None:
        thing = self.stateful[path]
        try:
            with raise_torch_oom():
                if thing is self.optimizer:
                    self.strategy.load_optimizer_state(self.optimizer, state)
                else:
                    thing.load_state_dict(state)
        except torch.OutOfMemoryError:
            raise UserError(
                f"{self.device} has too little memory for the state of {path}; make the model smaller, or "
                "share it among several devices with training.sharding=state"
            ) from None
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            if attributed(error) is not None:
                raise
            said = f"{type(error).__name__}: {error}".partition("\n")[0]
            raise UserError(
                f"{self.checkpoints.path(self.progress.step)}: its state of {path} is none of "
                f"{type(thing).__name__} ({said}); it was written by something else than this version of seqx"
            ) from error

    def _newest(self, before: int | None) -> tuple[TrainingProgress, dict[str, Any]] | None:
        """What the newest whole checkpoint has; the first process finds it, and sets damaged ones aside."""
        place = self.strategy.load_device(self.device)
        if self.world.is_rank_zero:
            found = self.checkpoints.resume(self.model, place, self._warn, before=before)
            self.world.broadcast(found[0].step if found else None)
            return found
        step = self.world.broadcast(None)
        return None if step is None else self.checkpoints.restore(step, self.model, place)

    def _draw_on(self, states: Sequence[Mapping[str, Tensor]]) -> None:
        """Go on with the random states of this process, or, if there was none of its rank, with its own seed.

        The first process's are restored with the checkpoint.
        """
        rank = self.world.rank
        if rank < len(states):
            set_random_state(states[rank], self.device)
        elif rank:
            torch.set_rng_state(self._fresh)
            if self.device.type == "cuda":
                torch.cuda.manual_seed(torch.initial_seed())

    def train(self) -> None:
        """Make the updates that are still to be made."""
        passed = SkippedBatches(self.run.folder / PASSED_OVER)
        with self.world.rank_zero_first():
            self.digests = DataFingerprint(self.run.folder / DIGESTS, self.task, self.run.store)
        self._start(passed)
        self._saved = time.monotonic()
        self._agree()
        if (self.progress.pending or self._ends_here()) and self._attend():
            return
        if self._is_over():
            return
        self._check_schedule()
        self.accumulation = GradientAccumulation(
            strategy=self.strategy,
            device=self.device,
            precision=self.run.precision,
            limit=MicrobatchLimit(self.run.folder / LIMIT, self.world.size),
            describe=partial(named, self.batches.store),
        )
        try:
            if self.device.type == "cuda":  # where there may be too little memory, it is to show at once
                self.rehearse()
            while trouble := self._make_updates(passed):
                self._go_back(trouble, passed)
                if self.progress.pending and self._attend():
                    return
        except OomRestartError as error:
            self.accumulation.limit.save(error.padded_tokens)
            raise

    def _start(self, passed: SkippedBatches) -> None:
        """Tell callbacks where training goes on, and what was to say before they could hear it.

        What was said of a return belongs to the checkpoint that the run went back to, and is told with it.
        """
        self.tell.started(run=self.run)
        self._started = True
        for what in (*self._early, *passed.said(self.progress.step)):
            self.tell.noticed(run=self.run, step=self.progress.step, what=what)
        self._early.clear()

    def _check_schedule(self) -> None:
        how = self.run.training
        if how.steps > 1 and how.schedule(how.steps, how.steps) > how.schedule(how.steps - 1, how.steps):
            self._warn(
                "training.schedule: the learning rate still rises at the last update; a shorter warm-up lets "
                "it come down"
            )

    def rehearse(self) -> None:
        """Compute the largest update and learn nothing from it; training goes on as if that had not been."""
        largest = self.batches.largest_update(self.progress.epoch)
        oom_retries = rehearse(self.accumulation, self.optimizer, largest)
        self._tell_of(oom_retries, "the largest update")

    def _tell_of(self, oom_retries: int, update: str) -> None:
        """Say once that memory is short: it costs time, and a setting would mend it."""
        if oom_retries and not self._told:
            self._told = True
            what = (
                f"{update} needs too much memory at once, and was computed again in smaller parts; where "
                "that happens often, a smaller training.microbatch saves time (this is said once)"
            )
            self._warn(what)

    def _ends_here(self) -> bool:
        """Whether the update that the run was stopped at is now the last one."""
        step = self.progress.step
        if step != self.run.training.steps:
            return False
        return not self.world.broadcast(
            self.checkpoints.info(step).ranked if self.world.is_rank_zero else False
        )

    def _is_over(self) -> bool:
        return self.progress.step >= self.run.training.steps or self._patience_is_over()

    def _make_updates(self, passed: SkippedBatches) -> Divergence | None:
        """Those that are still to be made, until there is trouble."""
        how = self.run.training
        position = Position(self.progress.epoch, self.progress.index)
        with BatchLoader(
            self.batches,
            position,
            skip=passed.positions,
            device=self.device,
            while_blocked=self.strategy.waiting,
        ) as batches:
            stream = updates(
                self.accumulation,
                self.optimizer,
                partial(how.schedule, steps=how.steps),
                batches,
                clip=how.clip,
                done=self.progress.step,
            )
            with closing(stream):
                trouble = self._follow(islice(stream, how.steps - self.progress.step))
        self.world.enter_stage("finishing")
        return trouble

    def _go_back(self, trouble: Divergence, passed: SkippedBatches) -> None:
        """Go on from the last checkpoint before the trouble, without the batches that brought it.

        Raises:
            UserError: there is none, or the run went back often enough
        """
        first = trouble.marks[0]
        good = self.world.broadcast([step for step in self.checkpoints.steps() if step < first.step])
        if not good or passed.times >= self.run.training.returns:
            why = (
                f"after {passed.times} returns to a checkpoint (training.returns)"
                if good
                else "there is no checkpoint from before to go back to"
            )
            raise UserError(f"{trouble}; {why}. {self._report(trouble)}")
        self._started = False
        self.watch.forget()
        step = self.resume(before=first.step).step
        said = (
            f"{trouble}; going back to the checkpoint of update {step}, and passing over "
            f"the batches of {len(trouble.marks)} updates"
        )
        if self.world.is_rank_zero:
            click.echo(said, err=True)
            forget_after(step, self.checkpoints)
        passed.add(trouble, back_to=step, said=said, keep=self.world.is_rank_zero)
        self.run = replace(
            self.run,
            done=self.progress.step,
            best=self.progress.best,
            best_step=self.progress.best_step,
            resumed=self.checkpoints.path(self.progress.step),
            pending=self.progress.pending,
        )
        self._start(passed)

    def _report(self, trouble: Divergence) -> str:
        """What a person needs who looks for the cause."""
        at, batches = trouble.marks[0].at, self.batches.for_single_device()
        with self.strategy.gradient_sync(last=False):
            examples = worst_examples(
                self.step, batches, at, device=self.device, precision=self.run.precision
            )
        return (
            f"Of the examples of update {trouble.marks[0].step} these have the largest gradients: "
            f"{named(self.batches.store, examples)}. Mend them if they are broken; else lower the learning "
            "rate (training.schedule), set training.clip, or set training.precision=fp32"
        )

    def write(self, place: RunFolder, *, made: Configured[Any], plugins: Plugins) -> None:
        """Write the best of the average, the last and the best checkpoint as the model, and load it."""
        how = self.run.training
        if self.world.is_rank_zero and self.watch.suspects:  # checkpoints that were kept to go back to
            self.checkpoints.prune(how.keep, select=how.order, warn=self._warn)
        found = self.world.broadcast(
            candidates(self.checkpoints, how, self._warn) if self.world.is_rank_zero else list[Candidate]()
        )
        hold = partial(self._hold, place, made, plugins)
        if len(found) == 1:
            hold(found[0].steps)
            return
        held, scored = None, dict[Candidate, Evaluation]()
        for i, candidate in enumerate(found):
            if candidate.figure is None:
                hold(candidate.steps)
                evaluation = self._score("dev")
                held = found[i] = replace(
                    candidate, figure=self.world.broadcast(evaluation.validation_score(how.figure))
                )
                scored[held] = evaluation
        best, *others = in_order(found)
        if best is not held:
            hold(best.steps)
        self._scored = scored.get(best)
        if self.world.is_rank_zero:
            write_compared(place.model, [best, *others])

    def _hold(self, place: RunFolder, made: Configured[Any], plugins: Plugins, steps: Sequence[int]) -> None:
        """Write the mean of some checkpoints as the model, and load it."""
        if self.world.is_rank_zero:
            place.write_model(
                place.model,
                average([self.checkpoints.path(step) / WEIGHTS for step in steps]),
                steps=steps,
                sizes=self.task.vocab_sizes,
                parameters=self.run.parameters,
                made=made,
                plugins=plugins,
            )
        self.world.barrier()
        read_weights(self.model, place.model / WEIGHTS)

    def test(self, place: RunFolder) -> Mapping[str, Mapping[str, Score]]:
        """Score the model on dev and test, if they exist, and write the scores, which finishes the run."""
        scores = {}
        for split in [split for split in HELD_OUT if split in self.task.available]:
            known = self._scored if split == "dev" else None
            evaluation = self._evaluate(split, known)
            scores[split] = evaluation.scores
            if self.world.is_rank_zero:
                place.write_outputs(split, evaluation)
        self.tell.finished(run=self.run, scores=scores)
        if self.world.is_rank_zero:
            place.write_scores(scores)
        return scores

    @contextmanager
    def telling_failure(self) -> Iterator[None]:
        """Callbacks hear of whatever breaks the run off."""
        try:
            yield
        except BaseException as error:
            try:
                self.tell.failed(run=self.run, error=error)
            except Exception as another:  # noqa: BLE001  of a callback; it must not replace the run's error
                if not isinstance(error, UserError):  # which often has the same cause and is reported
                    click.echo(attributed(another) or str(another), err=True)
            raise

    def remark(self, what: Iterable[str]) -> None:
        """Print warnings about the text and the model, and pass them to callbacks."""
        for line in what:
            self._warn(line)

    def _warn(self, what: str) -> None:
        """Say what must not pass in silence, whether or not a callback listens."""
        if not self.world.is_rank_zero:
            return
        click.echo(what, err=True)
        if self._started:
            self.tell.noticed(run=self.run, step=self.progress.step, what=what)
        else:
            self._early.append(what)

    def _follow(self, stream: Iterator[Update]) -> Divergence | None:
        began = time.monotonic()
        before = self.progress.seconds
        for update in stream:
            if self.average is not None:
                self.average.follow(update.skipped)
            self.progress = replace(
                self.progress,
                step=update.step,
                epoch=update.then.epoch,
                index=update.then.index,
                tokens=self.progress.tokens + update.tokens,
                seconds=before + time.monotonic() - began,
            )
            self.world.enter_stage("between updates")
            self.tell.updated(run=self.run, update=update)
            self._tell_of(update.oom_retries, f"update {update.step}")
            trouble = self.watch.add(update)
            due = self._is_due()
            if trouble is None and due:
                trouble = self.watch.look()  # nothing is judged or saved of which it is not known how it went
            if trouble is not None:
                return trouble
            if due and self._attend():
                break
        return None

    def _is_due(self) -> bool:
        """Whether something is to be judged or saved after this update."""
        how, step = self.run.training, self.progress.step
        self._agree()
        marked = step == how.steps or step % how.validate_every == 0 or step % how.save_every == 0
        return marked or self._asked is not None or self._late

    def _agree(self) -> None:
        """Whether a signal asked any of the processes to stop, and whether any finds it time to save.

        What is done next goes by this, and not by what has come to one of them since.
        """
        own = [self.stop.signal or 0, int(self._minutes_are_over())]
        by, late = (max(said) for said in zip(*self.world.all_gather_ints(own), strict=True))
        self._asked = signal.Signals(by) if by else None
        self._late = bool(late)

    def _look(self) -> None:
        if self._asked is not None:
            raise Stopped(self._asked)

    def _attend(self) -> bool:
        """Do what is due after an update; whether training ends here.

        Raises:
            Stopped: a signal asked for it; what is saved goes on as if it had not
        """
        how, step = self.run.training, self.progress.step
        self.progress = replace(self.progress, pending=False)
        last = step == how.steps
        due = (last or step % how.validate_every == 0) and "dev" in self.task.available
        figure = self._validate_or_save() if due else None
        over = self._patience_is_over()
        # The best can only be chosen from what was both validated and saved.
        wanted = how.order == "best" and figure is not None
        if last or over or wanted or step % how.save_every == 0:
            self._save(ranked=True, figure=figure)
            self._agree()  # a signal may have come since
        elif self._asked is not None or self._late:
            self._save(ranked=False, figure=None)
        self._look()
        return over

    def _validate_or_save(self) -> ValidationScore:
        """Validate; when that is stopped, save what was there before it, and that it is still to be done."""
        random = all_random_states()
        try:
            self._look()
            return self._validate()
        except Stopped:
            set_all_random_states(random)  # a search may have drawn some
            self.progress = replace(self.progress, pending=True)
            self._save(ranked=False, figure=None)
            raise

    def _minutes_are_over(self) -> bool:
        minutes = self.run.training.save_minutes
        return minutes is not None and time.monotonic() - self._saved > 60 * minutes

    def _validate(self) -> ValidationScore:
        """Score the model on the development set; return the score by which checkpoints are compared."""
        self.strategy.gather_full_model()
        how = self.run.training
        waits_for = how.patient.by if how.patient else None
        evaluation = self._evaluate("dev")
        score, awaited, figure = self.world.broadcast(
            (
                next(iter(evaluation.scores.values())),
                evaluation.validation_score(waits_for),
                evaluation.validation_score(how.figure),
            )
        )
        if self.progress.best is None or score.beats(self.progress.best):
            self.progress = replace(self.progress, best=score.value, best_step=self.progress.step)
        self.progress = validated(self.progress, awaited, waits_for)
        return figure

    def _patience_is_over(self) -> bool:
        return is_over(self.progress, self.run.training.patient)

    def _evaluate(self, split: str, known: Evaluation | None = None) -> Evaluation:
        """Score the model on a split, or take the `known` evaluation, and inform callbacks."""
        evaluation = known or self._score(split)
        self.tell.evaluated(run=self.run, step=self.progress.step, split=split, evaluation=evaluation)
        return evaluation

    def _score(self, split: str) -> Evaluation:
        rows = self.task.read_split(split)
        self.digests.check(rows)
        predictor = Predictor(
            self.task,
            self.model,
            self.search,
            device=self.device,
            precision=self.run.precision,
            before_batch=self.stop.raise_if_requested,
            world=self.world,
            lenient=True,
        )
        self.world.enter_stage(f"scoring {split}")
        # What is compiled for training does not fit a search's ever longer states.
        with torch.compiler.set_stance("force_eager"), self.strategy.model_on_device():
            evaluation = evaluate(predictor, rows)
        if split not in self._bounded:  # once for each split
            self._bounded.add(split)
            for warning in evaluation.warnings if self.world.is_rank_zero else ():
                if warning.count:
                    click.echo(f"{split}: {warning}", err=True)
        return evaluation

    def _save(self, *, ranked: bool, figure: ValidationScore | None) -> None:
        how = self.run.training
        self.world.enter_stage("saving")
        self.strategy.gather_full_model()
        states = self.strategy.full_state_dict(
            {path: thing.state_dict() for path, thing in self.stateful.items()}
        )
        if self.world.size > 1:
            states[RANDOM] = self.world.all_gather(random_state(self.device))
        path = self.checkpoints.path(self.progress.step)
        if self.world.is_rank_zero:
            path = self.checkpoints.save(self.progress, self.model, states, figure=figure, ranked=ranked)
            if not self.watch.suspects:  # the run may have to go back to any of them
                self.checkpoints.prune(how.keep, select=how.order, warn=self._warn)
        self.world.barrier()
        self._saved = time.monotonic()
        if not self.progress.pending:  # else the update is saved once more, when all is done that is due
            self.tell.saved(run=self.run, step=self.progress.step, path=path)
