"""Run an experiment, from the recipe to the scores. To read the code of seqx, start here."""

from collections.abc import Mapping
from contextlib import ExitStack, nullcontext
from functools import partial
from pathlib import Path

import click

from seqx.build import Context, build_data, build_initial_model_report, build_model, build_task, build_trainer
from seqx.interfaces.scores import Score
from seqx.parallel import SINGLE_PROCESS, World
from seqx.plugin.loading import Plugins
from seqx.plugin.run_end import notify_of_end
from seqx.recipe import Configured
from seqx.run_folder import RunFolder
from seqx.runtime import cpu_threads
from seqx.runtime.devices import deterministic, device_of
from seqx.runtime.matrix_products import fast_products
from seqx.runtime.signals import StopRequest
from seqx.training.description import Experiment
from seqx.training.placement import check_weight_precision
from seqx.training.preflight import build_checked


def run(
    recipe: Configured[Experiment],
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
    """Prepare the data, train, select the model and test it; return the scores of each split.

    Calling this function again resumes an interrupted run. For a finished run, it only returns the scores.

    Args:
        recipe: the checked recipe
        plugins: the plugins that the recipe was checked with
        name: the name of the run
        folder: the folder of the run
        device: "auto", "cpu", "cuda" or "cuda:NUMBER"
        number_of_threads: threads of each process on a CPU; None: as many as the run began with
        changed_plugins: accept local plugins whose text has changed since the run began
        stop: the signals that ask the run to save and stop; None: signals are not handled
        world: the ranks of the run; all of them see the same folder, and rank 0 writes to it

    Raises:
        Stopped: a signal asked the run to stop; a checkpoint was saved
        UserError: an error that the user can fix
    """
    run_folder = RunFolder(folder)
    lock = run_folder.locked(recipe, plugins, changed_plugins=changed_plugins)
    with lock if world.is_rank_zero else nullcontext() as recorded:
        if (final_scores := world.broadcast(recorded)) is not None:
            return final_scores
        context = Context(
            recipe=recipe,
            experiment=build_checked(recipe, begun=run_folder.vocabulary.is_dir()),
            plugins=plugins,
            name=name,
            folder=run_folder,
            device=device_of(device),
            world=world,
            stop=stop or StopRequest(),
        )
        check_weight_precision(context.config, world, context.device)
        if context.device.type == "cpu":
            _set_threads(run_folder, number_of_threads, world)

        vocabulary = build_task(context)
        model = build_model(context, is_restored=context.has_checkpoints)
        store = build_data(context, model, vocabulary)
        trainer = build_trainer(context, model, store, vocabulary)
        if world.is_rank_zero:
            run_folder.begin(recipe, plugins, vocabulary, world.size, trainer.run.done)

        deterministic_kernels = deterministic(enabled=context.config.deterministic)
        products = fast_products(context.device, context.precision)
        notify = partial(notify_of_end, plugins, folder)
        with (
            context.stop.deferred(),
            ExitStack() as end,
            trainer.report_failure(),
            deterministic_kernels,
            products,
        ):
            if world.is_rank_zero:
                end.callback(notify)
                world.report_end_to(lambda _: notify())
            trainer.train()
            write_model = partial(
                run_folder.write_model,
                sizes=context.experiment.task.vocab_sizes,
                parameters=trainer.run.parameters,
                recipe=recipe,
                plugins=plugins,
            )
            dev = trainer.select_model(run_folder.model, write_model)
            scores = trainer.test(dev, run_folder.write_outputs)
            if world.is_rank_zero:
                if (report := build_initial_model_report(context)) is not None:
                    report(scores)
                run_folder.write_scores(scores)
            return scores


def _set_threads(run_folder: RunFolder, requested: int | None, world: World) -> None:
    """Use as many CPU threads as the run began with, unless the user `requested` another number."""
    previous = world.broadcast(run_folder.threads(world.size) if world.is_rank_zero else None)
    warn = partial(click.echo, err=True) if world.is_rank_zero else lambda _: None
    cpu_threads.keep_thread_count(previous, requested, warn)
    cpu_threads.adapt_to_contention()
