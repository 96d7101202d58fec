"""START HERE: from a recipe to a score, top to bottom."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import click
import numpy as np
import torch
from annotated_types import Gt

from seqx.data.batches import Batches
from seqx.data.cache import default_cache, fingerprint
from seqx.data.held_out import held_out_warnings
from seqx.data.prepare import cached_vocabulary, prepare
from seqx.data.store import Store
from seqx.errors import UserError
from seqx.inference.loading import model_folder
from seqx.interfaces.learning import Callback, Search
from seqx.interfaces.networks import Model
from seqx.interfaces.text import Metric, Task
from seqx.interfaces.values import Score
from seqx.parallel import SINGLE_PROCESS, World
from seqx.parallel.ddp import DDP
from seqx.parallel.step import Step
from seqx.parallel.strategy import Strategy
from seqx.plugin.hooks import events
from seqx.plugin.loading import Plugins
from seqx.plugin.registry import Make
from seqx.recipe import Configured
from seqx.run_folder import CHECKPOINTS, RunFolder
from seqx.runtime import cpu_threads
from seqx.runtime.allocator import keep_heap
from seqx.runtime.devices import deterministic, device_of, precision_of, raise_torch_oom
from seqx.runtime.signals import StopRequest
from seqx.storage.checkpoints import Checkpoints
from seqx.training.compile import compile_layers, while_compiling
from seqx.training.config import Training
from seqx.training.ema import Average
from seqx.training.finetuning import remarks, start_from
from seqx.training.preflight import examined, shell
from seqx.training.recovery.data_fingerprint import HELD_OUT
from seqx.training.recovery.divergence import DivergenceDetector
from seqx.training.run_info import Run
from seqx.training.trainer import Trainer

CPU_MICROBATCH = 4096
"""Places computed at once on a CPU: more is no faster there, and needs more memory."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """Figures that others published for what a recipe describes, shown beside its own.

    Args:
        source: where they stand
        parameters: how many the model has
        dev: figures of the development set by name: a metric's, or perplexity
        test: figures of the test set in the same way
    """

    source: str
    parameters: Annotated[float, Gt(0)] | None = None
    dev: Mapping[str, float] | None = None
    test: Mapping[str, float] | None = None


class Experiment:
    """What a recipe describes.

    Args:
        task: what is learnt, and from which text
        model: what learns it
        training: how it learns
        search: how it finds its answers
        callbacks: who is told how the run goes
        published: figures to compare the run with; nothing is computed from them
    """

    def __init__(
        self,
        *,
        task: Task,
        model: Make[Model],
        training: Training,
        search: Search,
        callbacks: list[Callback] | None = None,
        published: Published | None = None,
    ) -> None:
        self.task = task
        self.model = model
        self.training = training
        self.search = search
        self.callbacks = callbacks or []
        self.published = published


def run(
    made: Configured[Experiment],
    plugins: Plugins,
    *,
    name: str,
    folder: Path,
    device: str = "auto",
    number_of_threads: int | None = None,
    changed_plugins: bool = False,
    stop: StopRequest | None = None,
    world: World = SINGLE_PROCESS,
) -> Mapping[str, Mapping[str, Score]]:
    """The whole story: prepare, train, choose, test; returns the scores of each split.

    Called again it goes on where it was interrupted, and a finished run only says what it scored.

    Args:
        made: the checked recipe
        plugins: those it was checked against
        name: what the run is called
        folder: where the run keeps what it makes
        device: what computes it
        number_of_threads: threads of each process on a CPU; None: as many as the run began with
        changed_plugins: whether the text of local plugins may differ from what the run began with
        stop: asks the run to save and end; None: nobody does
        world: the processes that train together, and see the same `folder`; the first of them writes there

    Raises:
        Stopped: it was asked to, and has saved
        UserError: a mistake that the user can mend
    """
    place = RunFolder(folder)
    opened = (
        place.opened(made, plugins, changed_plugins=changed_plugins) if world.is_rank_zero else nullcontext()
    )
    with opened:
        finished = world.broadcast(place.finished(made) if world.is_rank_zero else None)
        if finished is not None:
            return finished
        experiment, stop = examined(made, begun=place.learnt.is_dir()), stop or StopRequest()
        where = device_of(device)
        if where.type == "cpu":
            _use_threads(place, number_of_threads, world)
        trainer, vocabulary = _prepared(experiment, made, plugins, name, place, where, stop, world)
        if world.is_rank_zero:
            place.begin(made, plugins, vocabulary, world.size)
        same = deterministic(enabled=experiment.training.deterministic)
        with stop.deferred(), trainer.telling_failure(), same:
            trainer.train()
            trainer.write(place, made=made, plugins=plugins)
            return trainer.test(place)


def _use_threads(place: RunFolder, wanted: int | None, world: World) -> None:
    """Set the number of threads to the one that the run began with, or to the one that the user gave."""
    began_with = world.broadcast(place.threads(world.size) if world.is_rank_zero else None)
    cpu_threads.keep_thread_count(
        began_with, wanted, partial(click.echo, err=True) if world.is_rank_zero else lambda _: None
    )
    cpu_threads.adapt_to_contention()


def _prepared(
    experiment: Experiment,
    made: Configured[Experiment],
    plugins: Plugins,
    name: str,
    place: RunFolder,
    device: torch.device,
    stop: StopRequest,
    world: World,
) -> tuple[Trainer, Path]:
    """Text at hand, vocabulary learnt, corpus encoded, model built, and everything as it was last saved."""
    task, how = experiment.task, experiment.training
    callbacks = experiment.callbacks if world.is_rank_zero else []
    tell = events(callbacks)

    def progress(what: str, share: float | None) -> None:
        tell.preparing(what=what, share=share)

    first = None if how.init is None else model_folder(how.init)
    cache, settings = default_cache(), _deciding(made)
    world.enter_stage("preparing")
    with world.rank_zero_first():
        task.fetch(cache / "corpora", progress, task.available)
        if place.learnt.is_dir():
            vocabulary = place.learnt
        elif first is not None:  # the weights need the vocabulary that they were trained with
            vocabulary = first / "task"
        else:
            vocabulary = cached_vocabulary(task, settings, cache, progress=progress)
    task.load(vocabulary)
    torch.manual_seed(how.seed)
    model = experiment.model(task.vocab_sizes)
    if first is not None:
        start_from(first, model, made)
    settings = {**settings, "vocabulary": fingerprint(vocabulary)}
    with world.rank_zero_first():
        against = tuple(split for split in HELD_OUT if split in task.available)
        store = prepare(task, "train", settings, cache, progress=progress, against=against)
    _check_same(world, store)
    _check_lengths(model, task, store)

    if device.type == "cpu":
        keep_heap()
    if how.compile:
        compile_layers(model)
    step = Step(model, how.objective)
    _draw(how.seed, world.rank)
    strategy = _strategy(step, world, how, device)
    if how.compile and world.size > 1:
        while_compiling(strategy.waiting)
    optimizer = how.optimizer.build(step)
    microbatch = how.microbatch or (CPU_MICROBATCH if device.type == "cpu" else None)
    batches = Batches(
        store=store,
        tokens=how.tokens,
        groups=how.groups,
        seed=how.seed,
        microbatch=microbatch,
        rank=world.rank,
        world_size=world.size,
        task=task if task.resegments else None,
    )
    trainer = Trainer(
        task=task,
        search=experiment.search,
        optimizer=optimizer,
        average=None if how.ema is None else Average(how.ema, model),
        watch=DivergenceDetector(nonfinite=how.nonfinite, spike=how.spike),
        batches=batches,
        checkpoints=Checkpoints(place.folder / CHECKPOINTS, place.identity_of(made, plugins, vocabulary)),
        callbacks=callbacks,
        device=device,
        tell=tell,
        stop=stop,
        world=world,
        strategy=strategy,
    )
    done = trainer.resume()
    if world.is_rank_zero and not done.step:
        trainer.remark([*task.training_warnings(), *remarks(first, made)])
        trainer.remark(said for split in against for said in held_out_warnings(task, task.read_split(split)))
    place.check_rates(how.schedule, how.steps, done.step)
    trainer.run = Run(
        name=name,
        folder=place.folder,
        training=how,
        done=done.step,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        device=str(device),
        precision=precision_of(how.precision, device),
        store=store,
        updates=len(batches.plan(done.epoch)),
        processes=world.size,
        best=done.best,
        best_step=done.best_step,
        resumed=trainer.checkpoints.path(done.step) if done.step else None,
        pending=done.pending,
    )
    return trainer, vocabulary


def _deciding(made: Configured[Experiment]) -> dict[str, Any]:
    """The settings of the task that decide its examples: all but those that only judge outputs."""
    task = made.settings["task"]
    assert isinstance(task, Configured), "a task is a component"
    judging = [
        name
        for name, value in task.settings.items()
        if any(issubclass(component.interface, Metric) for component in value.used())
    ]
    return {name: value for name, value in task.plain().items() if name not in judging}


def _strategy(step: Step, world: World, how: Training, device: torch.device) -> Strategy:
    """Move the training step, or this process's shard of it, to the device.

    Raises:
        UserError: the device has too little memory
    """
    try:
        with raise_torch_oom():
            if world.size == 1:
                return Strategy(step.to(device))
            if how.sharding == "none":
                return DDP(step.to(device), world)
            from seqx.parallel.fsdp import FSDP  # noqa: PLC0415  the import takes half a second

            return FSDP(step, world, device, full=how.sharding == "full")
    except torch.OutOfMemoryError:
        raise UserError(
            f"{device} has too little memory for the model; make it smaller, or share it among several "
            "devices with training.sharding=state"
        ) from None


def _draw(seed: int, rank: int) -> None:
    """Give each process numbers of its own for dropout; the first goes on with those of the weights."""
    if rank:
        torch.manual_seed((seed + rank * 0x9E3779B97F4A7C15) % 2**64)


def _check_same(world: World, store: Store) -> None:
    """Refuse processes that would learn from different texts."""
    identities = world.all_gather(store.identity)
    different = [rank for rank, identity in enumerate(identities) if identity != identities[0]]
    if different:
        raise UserError(
            f"process {different[0]} has another corpus or vocabulary than process 0; give all machines the "
            "same files and the same version of seqx"
        )


def _check_lengths(model: Model, task: Task, store: Store) -> None:
    """Refuse examples that the model cannot read or write, before it meets one."""
    if model.limit is None:
        return
    lengths = np.max([store.lengths(column) for column in store.columns], axis=0)
    if model.single_sequence:
        lengths = store.lengths("source") + store.lengths("target") - 1
    longest, longer = int(lengths.max()), int((lengths > model.limit).sum())
    if task.resegments:  # other encodings may be longer, up to what the task allows
        longest = max(longest, task.longest or longest)
    if longest > model.limit:
        raise UserError(
            f"the model reads and writes at most {model.limit} tokens, EOS counted, but training examples "
            f"may have {longest}, and {longer:,} of {len(store):,} have more than it can; "
            "raise the limit of its positions, or let the task leave out long examples"
        )


def parameters(experiment: Experiment) -> int:
    """The parameters of a model that is built without memory for them."""
    return sum(parameter.numel() for parameter in shell(experiment).parameters())
