"""Experiments, models and training of the recipes of the checkout."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch

from seqx.data.batches import Batches
from seqx.data.loader import BatchLoader
from seqx.data.store import Store
from seqx.parallel import SINGLE_PROCESS
from seqx.parallel.parallelism import Step
from seqx.plugin.loading import load_plugins
from seqx.recipe import check, load
from seqx.runtime.precision import precision_of
from seqx.training.config import Training
from seqx.training.description import Experiment
from seqx.training.gradient_accumulation import GradientAccumulation
from seqx.training.loop import updates
from seqx.training.placement import choose_strategy
from seqx.training.update import Update
from seqx_models import EncoderDecoder

TINY = (
    "model.d_model=32",
    *(
        f"model.{side}.{setting}"
        for side in ("encoder", "decoder")
        for setting in ("layers=1", "attention.heads=2")
    ),
    *(f"model.{side}.feedforward.width=64" for side in ("encoder", "decoder")),
)
"""Overrides for a model that is small enough for a dry run."""


def experiment(recipe: str, overrides: Sequence[str] = ()) -> Experiment:
    """Return the experiment of an included recipe."""
    path = Path(__file__).parents[2] / "recipes" / f"{recipe}.yaml"
    return check(load(path, overrides=overrides).tree, load_plugins().registry, Experiment)()


def model(setup: Experiment, vocabulary: int) -> EncoderDecoder:
    """Build the model of an experiment with one vocabulary size for both sides."""
    built = setup.model({"source": vocabulary, "target": vocabulary})
    assert isinstance(built, EncoderDecoder)
    return built


def batches(config: Training, store: Store, tokens: int, *, packed: bool = True) -> Batches:
    """Return the batches of updates with `tokens` target tokens, with packed rows as on a GPU."""
    return Batches(
        store=store,
        tokens=tokens,
        groups=config.groups,
        seed=config.seed,
        microbatch=config.microbatch,
        packed=packed,
    )


@contextmanager
def training(
    config: Training, step: Step, data: Batches, device: torch.device
) -> Iterator[Generator[Update, None, None]]:
    """Return a generator of updates, as in `seqx run`."""
    strategy = choose_strategy(config, SINGLE_PROCESS)
    strategy.setup(step, SINGLE_PROCESS, device)
    with BatchLoader(data, device=device) as plans:
        yield updates(
            GradientAccumulation(
                strategy=strategy, device=device, precision=precision_of(config.precision, device)
            ),
            strategy.build_optimizer(config.optimizer),
            partial(config.schedule, steps=config.steps),
            plans,
            clip=config.clip,
            done=0,
        )
