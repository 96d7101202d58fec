"""Compute an update of a run again, without changing its folder: its examples, their losses and gradients."""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import cached_property, partial
from itertools import groupby, islice
from pathlib import Path
from typing import NamedTuple

import click
import torch
from torch import Tensor

from seqx.build import (
    Context,
    SavedParts,
    build_batches,
    build_data,
    build_model,
    build_saved_parts,
    build_task,
    start_from_initial_optimizer,
)
from seqx.commands.loading import load_checked_run
from seqx.commands.replayed_update import (
    ReplayedBatch,
    ReplayedExample,
    ReplayedLoss,
    ReplayedWeights,
    Report,
    example_losses,
    replayed_examples,
)
from seqx.data.batches import Batches
from seqx.data.loader import Position
from seqx.errors import DamagedError, UserError
from seqx.interfaces.networks import Model
from seqx.parallel import SINGLE_PROCESS
from seqx.run_folder import DATA, LIMIT, RunFolder
from seqx.run_record import Record
from seqx.runtime import cpu_threads
from seqx.runtime.devices import deterministic, device_of
from seqx.runtime.matrix_products import fast_products
from seqx.runtime.precision import precision_of
from seqx.runtime.random_state import random_state, set_random_state
from seqx.runtime.signals import StopRequest
from seqx.storage.checkpoint_info import TrainingProgress
from seqx.storage.starts import Start, recorded_starts, start_of_update
from seqx.storage.weights import WEIGHTS, read_weights
from seqx.training.gradient_accumulation import GradientAccumulation
from seqx.training.loop import updates
from seqx.training.placement import seed_rank
from seqx.training.preflight import build_checked, model_without_weights
from seqx.training.progress import ProgressTracker
from seqx.training.ranks_in_turn import RanksInTurn, rank_batches
from seqx.training.recovery.data_fingerprint import DataFingerprint
from seqx.training.recovery.memory_limit import MicrobatchLimit
from seqx.training.recovery.skipped_batches import SkippedBatches, UndoneUpdates
from seqx.training.recovery.worst_examples import describe_examples
from seqx.training.update import Update


class _Start(NamedTuple):
    """The weights from which updates are made again, and the position of the next batch of the run."""

    weights: ReplayedWeights
    position: Position
    random_states: Sequence[Mapping[str, Tensor]] = ()  # of all ranks, if there are several


class Replay:
    """Updates of a run, finished or not, that are computed again. No file of the run is changed.

    Args:
        folder: the run folder
        device: the device that computes: "auto", "cpu", "cuda" or "cuda:NUMBER"
        trust_local_plugins: run the local plugins of the run, if they have the recorded hashes
        report: called with the current activity

    Raises:
        UserError: the folder has no run, its plugins or its training text have changed, or it does not load
    """

    def __init__(
        self,
        folder: Path,
        *,
        device: str = "auto",
        trust_local_plugins: bool = False,
        report: Report = lambda _: None,
    ) -> None:
        self.record = Record.read(folder)
        self._report = report
        checked = load_checked_run(folder, trust_local_plugins=trust_local_plugins)
        experiment = build_checked(checked.configured, begun=True)
        experiment.callbacks = []
        torch_device = device_of(device)
        parallel = experiment.training.parallel
        self._lockstep = parallel is not None and parallel.shards_parameters
        has_bf16 = precision_of(experiment.training.precision, torch_device) == "bf16"
        experiment.training = replace(
            experiment.training,
            compile=False,
            parallel=None,
            weight_precision=experiment.training.weight_precision if has_bf16 else "fp32",
        )
        self._context = Context(
            recipe=checked.configured,
            experiment=experiment,
            plugins=checked.plugins,
            name=folder.name,
            folder=RunFolder(folder),
            device=torch_device,
            world=SINGLE_PROCESS,
            stop=StopRequest(),
        )
        self._starts = recorded_starts(folder / "environment.json")
        self._skipped = SkippedBatches(folder)
        self._saved = self._read_progress()
        report("preparing the data")
        self._vocabulary = build_task(self._context)
        self._meta_model: Model = model_without_weights(experiment.task, experiment.model)
        self._store = build_data(self._context, self._meta_model, self._vocabulary)
        DataFingerprint(folder / DATA, experiment.task, self._store).check_training()

    @property
    def steps(self) -> int:
        """The number of updates that the recipe asks for."""
        return self._context.config.steps

    @property
    def updates_made(self) -> int:
        """The number of updates that the run has made at least, by its newest checkpoint and its metrics."""
        return max(self.record.progress.step, self.record.metrics.step)

    def _read_progress(self) -> dict[int, TrainingProgress]:
        """Return the progress at each checkpoint that is not damaged, by step."""
        checkpoints, saved = self._context.folder.checkpoints, dict[int, TrainingProgress]()
        for step in checkpoints.steps():
            with suppress(DamagedError):  # damaged, or removed by the run, which may be in progress
                saved[step] = checkpoints.info(step).progress
        return saved

    @cached_property
    def _batches(self) -> Batches:
        """The batches of a single rank, which computes whole updates, in microbatches as in the run."""
        recorded = self.record.metrics.start.get("device") or self._context.device.type
        device = torch.device("cuda" if str(recorded).startswith("cuda") else "cpu")
        progress = ProgressTracker(next(iter(self._saved.values()), None))  # it says if rows are packed
        batches = build_batches(
            replace(self._context, device=device), self._meta_model, self._store, progress
        )
        return replace(batches, processes=0)

    def undone(self, step: int) -> UndoneUpdates | None:
        """Return the updates of the last rollback that undid an update with the number `step`, or None."""
        return self._skipped.undone(step)

    def batch(self, step: int, *, undone: bool = False) -> ReplayedBatch:
        """Return the batch of an update, whether the run has made it already or not.

        Args:
            step: the number of the update, from 1
            undone: return the batch of the update that a rollback has undone

        Raises:
            UserError: the run has no such update
        """
        folder = self.record.folder
        if not 0 < step <= self.steps:
            raise UserError(
                f"{folder}: has no update {step}, because training.steps is {self.steps}; name a smaller one"
            )
        updates = self.undone(step) if undone else None
        if undone and updates is None:
            raise UserError(f"{folder}: no rollback has undone update {step}; leave out --undone")
        self._report("looking for the batch")
        done = self._last_saved(step, updates)
        at = self._batches.position_after(self._position(done), step - 1 - done, skip=self._skip(updates))
        whole = self._batches.update_batch(self._batches.plan(at.epoch), at)
        processes = self._start_of(step, updates)["processes"]
        return ReplayedBatch(step, updates, rank_batches(self._batches, whole, processes))

    def updates_to_repeat(self, batch: ReplayedBatch) -> int:
        """Return the number of updates that must be made again to get the exact weights for an update."""
        return batch.step - 1 - self._last_saved(batch.step, batch.undone)

    def _last_saved(self, step: int, undone: UndoneUpdates | None) -> int:
        """Return the step of the last checkpoint before an update; 0 if there is none."""
        return max((saved for saved in self._usable_steps(undone) if saved < step), default=0)

    def _start_of(self, step: int, undone: UndoneUpdates | None) -> Start:
        """Return the start of the run that made an update, or that will make it."""
        return start_of_update(
            step, self._starts, self._skipped.restored_steps if undone is None else undone.earlier
        )

    def _skip(self, undone: UndoneUpdates | None) -> AbstractSet[Position]:
        return self._skipped.positions if undone is None else undone.skipped

    def _position(self, step: int) -> Position:
        """Return the position of the first batch after a checkpoint, or of the first batch of the run (0)."""
        progress = self._saved[step] if step else TrainingProgress()
        return Position(progress.epoch, progress.index)

    def _usable_steps(self, undone: UndoneUpdates | None) -> list[int]:
        """Return the steps of all checkpoints; with `undone`, only of those before the undone updates."""
        return [step for step in self._saved if undone is None or step <= undone.back_to]

    def examples(self, indices: Sequence[int], batch: ReplayedBatch) -> list[ReplayedExample]:
        """Return some examples of a batch with their texts and tokens."""
        return replayed_examples(self._context.experiment.task, self._batches, batch, indices)

    def update(
        self, batch: ReplayedBatch, *, exact: bool = False
    ) -> tuple[ReplayedWeights, Update, list[ReplayedLoss]]:
        """Compute an update again, with the random numbers of the run if the weights are exact.

        Args:
            batch: the batch of the update
            exact: first repeat all updates since the newest checkpoint before this update, so that the
                weights are exact

        Returns:
            the weights with which it was computed, the update, and the loss of each example
        """
        context, config = self._context, self._context.config
        self._report("building the model")
        parts, start = self._restore(batch, exact=exact)
        done = start.weights.step if exact else batch.step - 1
        stream = self._updates(
            parts, start if exact else start._replace(position=batch.position), batch, done
        )
        with ExitStack() as stack:
            stack.enter_context(deterministic(enabled=config.deterministic))
            stack.enter_context(fast_products(context.device, context.precision))
            for made in islice(stream, batch.step - 1 - done):
                self._report(f"making update {made.step} again")
            self._use_threads(self._start_of(batch.step, batch.undone)["threads"])
            losses = list(
                example_losses(
                    parts.strategy.step,
                    self._batches,
                    batch,
                    device=context.device,
                    precision=context.precision,
                    report=self._report,
                )
            )
            return start.weights, next(stream), losses

    def _updates(self, parts: SavedParts, start: _Start, batch: ReplayedBatch, done: int) -> Iterator[Update]:
        """Make the updates after `done` up to that of a batch, each with its ranks in the run."""
        config, states = self._context.config, start.random_states
        batches = self._batches.update_batches(start.position, skip=self._skip(batch.undone))

        def settings(step: int) -> tuple[int, int | None]:
            made_by = self._start_of(step, batch.undone)
            return made_by["processes"], made_by["threads"]

        for (processes, threads), steps in groupby(range(done + 1, batch.step + 1), settings):
            numbers = [*steps]
            self._use_threads(threads)
            accumulation = self._accumulation(parts, states, processes)
            made = updates(
                accumulation,
                parts.optimizer,
                partial(config.schedule, steps=config.steps),
                batches,
                clip=config.clip,
                done=numbers[0] - 1,
            )
            yield from islice(made, len(numbers))
            states = accumulation.random_states if isinstance(accumulation, RanksInTurn) else ()

    def _use_threads(self, threads: int | None) -> None:
        """Compute with the number of CPU threads of a start of the run, if it is known."""
        if self._context.device.type == "cpu":
            cpu_threads.keep_thread_count(threads, None, lambda _: None)
            cpu_threads.adapt_to_contention()

    def _build(self, *, is_restored: bool) -> tuple[Model, SavedParts]:
        model = build_model(self._context, is_restored=is_restored)
        return model, build_saved_parts(self._context, model, self._vocabulary)

    def _restore(self, batch: ReplayedBatch, *, exact: bool) -> tuple[SavedParts, _Start]:
        """Build the model with weights for an update: of a checkpoint, of the model, or the initial ones."""
        before, usable = batch.step - 1, self._usable_steps(batch.undone)
        if exact:
            candidates = sorted((step for step in usable if step <= before), reverse=True)
        else:
            candidates = sorted(self._saved if before else (), key=lambda step: (abs(step - before), step))
        for step in candidates:
            _, parts = self._build(is_restored=True)
            path = parts.checkpointer.checkpoints.path(step)
            try:
                progress, states = parts.checkpointer.restore(step)
            except DamagedError as error:
                if path.is_dir():  # otherwise a run that is in progress has removed it
                    click.echo(f"{error}; it is not used", err=True)
                continue
            weights = ReplayedWeights(
                source=path,
                step=step,
                repeated=before - step if exact else 0,
                exact=step in usable and (exact or step == before),
            )
            return parts, _Start(weights, Position(progress.epoch, progress.index), states)
        is_restored = bool(before) and not exact and self.record.scores is not None
        model, parts = self._build(is_restored=is_restored)
        if is_restored:
            folder = self._context.folder.model
            read_weights(model, folder / WEIGHTS)
            parts.strategy.load_full_model()
            weights = ReplayedWeights(source=folder, step=self.record.progress.step, repeated=0, exact=False)
            return parts, _Start(weights, batch.position)
        start_from_initial_optimizer(self._context, parts.checkpointer)
        weights = ReplayedWeights(
            source=None, step=0, repeated=before if exact else 0, exact=exact or not before
        )
        return parts, _Start(weights, Position())

    def _accumulation(
        self, parts: SavedParts, states: Sequence[Mapping[str, Tensor]], processes: int
    ) -> GradientAccumulation:
        """Return the computation of gradients of several ranks, which continue with their random states."""
        context = self._context
        one = GradientAccumulation(
            strategy=parts.strategy,
            device=context.device,
            precision=context.precision,
            limit=MicrobatchLimit(context.folder.folder / LIMIT, processes),
            describe=partial(describe_examples, self._store),
        )
        if processes == 1:
            if states:
                set_random_state(states[0], context.device)
            return one
        random_states = [*states][:processes] or [random_state(context.device)]
        with torch.random.fork_rng([context.device] if context.device.type == "cuda" else []):
            for rank in range(len(random_states), processes):
                seed_rank(context.config.seed, rank)
                random_states.append(random_state(context.device))
        return RanksInTurn(
            **vars(one),
            batches=self._batches,
            processes=processes,
            random_states=random_states,
            lockstep=self._lockstep,
        )
