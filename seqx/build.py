"""Build the parts of a run from a recipe."""

import os
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

import pluggy
import torch

from seqx.data.batches import Batches
from seqx.data.cache import fingerprint
from seqx.data.held_out import held_out_warnings
from seqx.data.prepare import cached_training_warnings, cached_vocabulary, prepare
from seqx.data.processes import can_start_processes
from seqx.data.store import Store
from seqx.errors import UserError
from seqx.inference.initial_model_scores import InitialModelReport
from seqx.inference.loading import model_folder
from seqx.inference.predictor import Predictor
from seqx.interfaces.learning import Callback
from seqx.interfaces.networks import Model
from seqx.parallel import World
from seqx.parallel.parallelism import Parallelism
from seqx.plugin.hooks import events
from seqx.plugin.loading import Plugins
from seqx.recipe import Configured
from seqx.run_checks import check_learning_rates
from seqx.run_folder import CHECKPOINTS, DATA, LIMIT, NEW_TEST_SCORES, OLD_TEST_SCORES, RunFolder
from seqx.runtime.cpu_threads import cpus
from seqx.runtime.precision import precision_of
from seqx.runtime.signals import StopRequest
from seqx.storage.cache_folder import default_cache
from seqx.storage.checkpoint_info import TrainingProgress
from seqx.storage.checkpoints import Checkpoints
from seqx.training.checkpointer import Checkpointer, stateful_callbacks
from seqx.training.config import Training
from seqx.training.data_checks import check_columns, check_lengths, check_same_data
from seqx.training.description import Experiment, cache_key_settings
from seqx.training.ema import Average
from seqx.training.embeddings import load_embeddings
from seqx.training.finetuning import (
    initial_model_warnings,
    load_initial_weights,
    optimizer_checkpoint,
)
from seqx.training.freezing import freeze
from seqx.training.gradient_accumulation import GradientAccumulation
from seqx.training.notices import Notices
from seqx.training.packing import has_packed_rows
from seqx.training.placement import build_strategy, optimizer_of
from seqx.training.progress import ProgressTracker, StopFlags
from seqx.training.recovery.data_fingerprint import HELD_OUT, DataFingerprint, is_recorded
from seqx.training.recovery.divergence import DivergenceDetector
from seqx.training.recovery.memory_limit import MicrobatchLimit
from seqx.training.recovery.rollback import Rollback
from seqx.training.recovery.worst_examples import describe_examples
from seqx.training.run_info import Run
from seqx.training.trainer import Trainer
from seqx.training.validation import Validator

CPU_MICROBATCH = 4096
"""The default of `training.microbatch` on a CPU. Larger microbatches are no faster and need more memory."""

MAX_SAMPLING_PROCESSES = 8
"""The largest number of processes that `training.sampling_processes: null` starts for a rank."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """The values from which all parts of a run are built."""

    recipe: Configured[Experiment]
    experiment: Experiment  # built from the recipe
    plugins: Plugins
    name: str  # of the run
    folder: RunFolder
    device: torch.device
    world: World
    stop: StopRequest
    notes: list[str] = field(default_factory=list)  # messages about what was built, printed before training

    @property
    def config(self) -> Training:
        """The settings of training."""
        return self.experiment.training

    @property
    def precision(self) -> Literal["bf16", "fp32"]:
        """The precision of matrix products."""
        return precision_of(self.config.precision, self.device)

    @property
    def callbacks(self) -> list[Callback]:
        """The callbacks of the recipe on rank 0; none on other ranks."""
        return self.experiment.callbacks if self.world.is_rank_zero else []

    @cached_property
    def events(self) -> pluggy.HookRelay:
        """The events of the callbacks."""
        return events(self.callbacks)

    @property
    def initial_model(self) -> Path | None:
        """The folder of the model that training starts from (`training.init_from`)."""
        initial = self.config.initial_model
        try:
            return None if initial is None else model_folder(initial.model)
        except UserError as error:
            raise UserError(f"training.init_from: {error}") from None

    @property
    def available_initial_model(self) -> Path | None:
        """The folder `initial_model`; None if it is missing, but the run has a checkpoint to resume from."""
        try:
            return self.initial_model
        except UserError:
            if not self.has_checkpoints:
                raise
            return None

    @property
    def has_checkpoints(self) -> bool:
        """True if the run resumes from a checkpoint, which replaces all weights."""
        return bool(self.folder.checkpoints.steps())

    @property
    def extends_vocabulary(self) -> bool:
        """True if the run extends the vocabulary of the model that it starts from."""
        initial = self.config.initial_model
        return initial is not None and initial.vocabulary == "extend"

    @property
    def held_out(self) -> tuple[str, ...]:
        """The held-out splits on which the run is scored."""
        return tuple(split for split in HELD_OUT if split in self.experiment.task.available)

    def report_preparation(self, activity: str, fraction: float | None) -> None:
        """Notify callbacks of the current activity, and of the fraction of it that is finished."""
        self.events.preparing(activity=activity, fraction=fraction)


def build_task(context: Context) -> Path:
    """Fetch the corpus, and load the vocabulary into the task; return the vocabulary's folder.

    A resumed run keeps its vocabulary. A run that starts from another model uses the vocabulary of that
    model, because the weights depend on it, or extends it. Any other run takes the vocabulary from the cache,
    or learns it from the training text.
    """
    task, cache = context.experiment.task, default_cache()
    context.world.enter_stage("preparing")
    with context.world.rank_zero_first():
        task.fetch(cache / "corpora", context.report_preparation, task.available)
        if context.folder.vocabulary.is_dir():
            vocabulary = context.folder.vocabulary
        elif context.initial_model is not None and not context.extends_vocabulary:
            vocabulary = context.initial_model / "task"
        else:
            vocabulary = cached_vocabulary(
                task,
                cache_key_settings(context.recipe, context.plugins),
                cache,
                progress=context.report_preparation,
                extended=None if context.initial_model is None else context.initial_model / "task",
            )
    task.load(vocabulary)
    return vocabulary


def build_model(context: Context, *, is_restored: bool = False) -> Model:
    """Build the model with random weights, or with those of the model that training starts from.

    Args:
        context: the values from which the run is built
        is_restored: a checkpoint will replace the weights; do not read the vectors of `training.embeddings`

    Raises:
        UserError: the weights do not fit, or a frozen parameter has new rows
    """
    torch.manual_seed(context.config.seed)
    model = context.experiment.model(context.experiment.task.vocab_sizes)
    initial = context.config.initial_model
    if initial is not None:
        folder = context.available_initial_model
        if folder is not None:
            sizes = context.experiment.task.vocab_sizes if context.extends_vocabulary else {}
            context.notes.extend(load_initial_weights(folder, model, context.recipe, extended=sizes))
        freeze(initial, model, folder)
    if not is_restored:
        context.notes.extend(load_embeddings(context.config.embeddings, model, context.experiment.task))
    return model


def build_initial_model_report(context: Context) -> InitialModelReport | None:
    """Build the report about the model that training starts from; None if there is no such model."""
    initial, folder = context.config.initial_model, context.folder
    if initial is None:
        return None
    return InitialModelReport(
        initial=initial.model,
        trained=folder.model,
        build_initial=partial(_build_initial_predictor, context),
        has_old_test=initial.old_test,
        is_recorded=lambda model, split: is_recorded(model.parent / DATA, split),
        write_new_test=partial(folder.write_both_scores, NEW_TEST_SCORES),
        write_old_test=partial(folder.write_both_scores, OLD_TEST_SCORES),
        device=str(context.device),
        before_batch=context.stop.raise_if_requested,
    )


def _build_initial_predictor(context: Context) -> Predictor:
    """Build a predictor of the model that training started from, as it was before the first update.

    Raises:
        UserError: the model is missing, or has changed and does not fit any more
    """
    initial = context.initial_model  # raises an error if the folder is missing
    assert initial is not None, "the recipe names an initial model"
    return Predictor(
        context.experiment.task,
        build_model(context).to(context.device),
        context.experiment.search,
        device=context.device,
        precision=context.precision,
        before_batch=context.stop.raise_if_requested,
        lenient=True,
    )


def build_data(context: Context, model: Model, vocabulary: Path) -> Store:
    """Encode the training text with the vocabulary, or read the encoded text from the cache.

    Raises:
        UserError: the model cannot read an example, or ranks have different text
    """
    task = context.experiment.task
    with context.world.rank_zero_first():
        store = prepare(
            task,
            "train",
            data_settings(context, vocabulary),
            default_cache(),
            progress=context.report_preparation,
            against=context.held_out,
        )
    check_same_data(context.world, store)
    check_columns(task, store)
    check_lengths(model, task, store)
    return store


def data_settings(context: Context, vocabulary: Path) -> dict[str, object]:
    """Return the values that determine the encoded training text, besides the text itself."""
    return {**cache_key_settings(context.recipe, context.plugins), "vocabulary": fingerprint(vocabulary)}


def build_batches(context: Context, model: Model, store: Store, progress: ProgressTracker) -> Batches:
    """Build the batches of this rank, and record in `progress` whether their rows are packed."""
    config, task = context.config, context.experiment.task
    packed = has_packed_rows(config, model, task, store, device=context.device, progress=progress.now)
    progress.restore(replace(progress.now, packed=packed))
    return Batches(
        store=store,
        tokens=config.tokens,
        groups=config.groups,
        seed=config.seed,
        microbatch=config.microbatch or (CPU_MICROBATCH if context.device.type == "cpu" else None),
        rank=context.world.rank,
        world_size=context.world.size,
        task=task if task.resegments else None,
        processes=sampling_processes(context) if task.resegments else 0,
        packed=packed,
    )


def sampling_processes(context: Context) -> int:
    """Return the number of processes that sample segmentations for this rank."""
    if context.config.sampling_processes is not None:
        return context.config.sampling_processes
    if context.device.type == "cpu":
        return 0  # training needs all CPUs, and takes longer than sampling
    ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    processes = min(MAX_SAMPLING_PROCESSES, cpus() // ranks - 1)
    return processes if processes > 0 and can_start_processes() else 0


@dataclass(frozen=True, kw_only=True)
class SavedParts:
    """The parts of training whose states are in checkpoints, and the checkpointer that restores them."""

    strategy: Parallelism
    optimizer: torch.optim.Optimizer
    average: Average | None
    detector: DivergenceDetector
    progress: ProgressTracker
    notices: Notices
    checkpointer: Checkpointer


def build_saved_parts(context: Context, model: Model, vocabulary: Path) -> SavedParts:
    """Build the parts of training that have a state, as they are before the first update."""
    config = context.config
    strategy = build_strategy(config, model, context.world, context.device)
    optimizer = optimizer_of(strategy, config.optimizer)
    average = None if config.ema is None else Average(config.ema, model)
    detector = DivergenceDetector(nonfinite=config.max_nonfinite, spike=config.spike)
    progress = ProgressTracker()
    notices = Notices(context.events, progress, silent=not context.world.is_rank_zero)
    for callback in context.callbacks:
        callback.warn_with(notices.warn)
    return SavedParts(
        strategy=strategy,
        optimizer=optimizer,
        average=average,
        detector=detector,
        progress=progress,
        notices=notices,
        checkpointer=build_checkpointer(context, vocabulary, strategy, average, detector, notices),
    )


def start_from_initial_optimizer(context: Context, checkpointer: Checkpointer) -> None:
    """Load the optimizer of the model that training starts from, if the recipe keeps its state.

    Raises:
        UserError: the model is missing, so neither its weights nor its optimizer state can be used
    """
    initial = context.config.initial_model
    if context.initial_model is not None and initial is not None and not initial.reset_optimizer:
        checkpointer.load_optimizer(optimizer_checkpoint(initial.model))


def build_trainer(context: Context, model: Model, store: Store, vocabulary: Path) -> Trainer:
    """Build the trainer, and restore the newest checkpoint, if there is one."""
    config = context.config
    parts = build_saved_parts(context, model, vocabulary)
    checkpointer, progress, notices = parts.checkpointer, parts.progress, parts.notices
    progress.restore(checkpointer.resume())
    if not progress.step:
        start_from_initial_optimizer(context, checkpointer)
    batches = build_batches(context, model, store, progress)
    if not progress.step:
        warn_of_data_and_settings(context, vocabulary, notices)
    check_learning_rates(context.folder.folder, config.schedule, config.steps, progress.step)
    flags = StopFlags(context.stop, parts.strategy, config.save_minutes)
    return Trainer(
        build_run(context, model, batches, checkpointer, progress.now),
        progress,
        accumulation=build_accumulation(context, store, parts.strategy, flags),
        optimizer=parts.optimizer,
        average=parts.average,
        batches=batches,
        checkpointer=checkpointer,
        validator=build_validator(context, store, parts),
        detector=parts.detector,
        rollback=build_rollback(context, parts, batches),
        flags=flags,
        notices=notices,
        events=context.events,
        world=context.world,
    )


def build_accumulation(
    context: Context, store: Store, strategy: Parallelism, flags: StopFlags
) -> GradientAccumulation:
    """Build the computation of gradients, which also exchanges the stop flags of all ranks."""
    return GradientAccumulation(
        strategy=strategy,
        device=context.device,
        precision=context.precision,
        limit=MicrobatchLimit(context.folder.folder / LIMIT, context.world.size),
        flags=flags,
        describe=partial(describe_examples, store),
    )


def build_checkpointer(
    context: Context,
    vocabulary: Path,
    strategy: Parallelism,
    average: Average | None,
    detector: DivergenceDetector,
    notices: Notices,
) -> Checkpointer:
    """Build the checkpointer, which saves and restores all parts of training that have a state."""
    parts = {
        "training.objective": strategy.step.objective,
        "training.optimizer": strategy.optimizer,
        "training.watch": detector,  # the name that checkpoints of earlier versions have
        **({} if average is None else {"training.ema": average}),
        **stateful_callbacks(context.callbacks),
    }
    identity = context.folder.identity_of(context.recipe, context.plugins, vocabulary)
    return Checkpointer(
        Checkpoints(context.folder.folder / CHECKPOINTS, identity),
        model=strategy.model if average is None else average.model,
        parts=parts,
        strategy=strategy,
        warn=notices.warn,
    )


def build_validator(context: Context, store: Store, parts: SavedParts) -> Validator:
    """Build the validator, which scores the model on the development and test sets."""
    task = context.experiment.task
    return Validator(
        task,
        parts.checkpointer.model,
        context.experiment.search,
        precision=context.precision,
        strategy=parts.strategy,
        stop=context.stop,
        fingerprint=DataFingerprint(context.folder.folder / DATA, task, store),
        progress=parts.progress,
        events=context.events,
    )


def build_rollback(context: Context, parts: SavedParts, batches: Batches) -> Rollback:
    """Build the rollback, which restores an earlier checkpoint after training has diverged."""
    return Rollback(
        parts.checkpointer,
        parts.detector,
        context.folder.folder,
        max_rollbacks=context.config.max_rollbacks,
        batches=batches,
        strategy=parts.strategy,
        precision=context.precision,
        notices=parts.notices,
    )


def build_run(
    context: Context, model: Model, batches: Batches, checkpointer: Checkpointer, progress: TrainingProgress
) -> Run:
    """Describe the run for callbacks."""
    run = Run(
        name=context.name,
        folder=context.folder.folder,
        training=context.config,
        done=0,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        device=str(context.device),
        precision=context.precision,
        store=batches.store,
        updates=len(batches.plan(progress.epoch)),
        processes=context.world.size,
    )
    return run.started_at(progress, checkpointer.checkpoints.path(progress.step))


def warn_of_data_and_settings(context: Context, vocabulary: Path, notices: Notices) -> None:
    """Warn of suspicious text, and of settings that differ from those of the initial model (rank 0 only)."""
    if context.world.is_rank_zero:
        task = context.experiment.task
        of_training = cached_training_warnings(
            task, data_settings(context, vocabulary), progress=context.report_preparation
        )
        notices.warn_all(
            [
                *context.notes,
                *of_training,
                *initial_model_warnings(context.initial_model, context.recipe),
            ]
        )
        for split in context.held_out:
            notices.warn_all(held_out_warnings(task, task.read_split(split)))
