"""Recipes of the checkout, opened for measuring."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch

from seqx.data.batches import Batches
from seqx.data.loader import BatchLoader
from seqx.data.store import Store
from seqx.parallel.step import Step
from seqx.parallel.strategy import Strategy
from seqx.plugin.loading import load_plugins
from seqx.recipe import check, load
from seqx.runtime.devices import precision_of
from seqx.training.config import Training
from seqx.training.description import Experiment
from seqx.training.gradient_accumulation import GradientAccumulation
from seqx.training.loop import updates
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
"""What makes a model small enough for a dry run."""


def experiment(recipe: str, overrides: Sequence[str] = ()) -> Experiment:
    """What a recipe that comes with seqx describes."""
    path = Path(__file__).parents[2] / "recipes" / f"{recipe}.yaml"
    made = check(load(path, overrides=overrides).tree, load_plugins().registry, Experiment)
    return made()


def model(described: Experiment, vocabulary: int) -> EncoderDecoder:
    """Its model, with one vocabulary for both sides."""
    built = described.model({"source": vocabulary, "target": vocabulary})
    assert isinstance(built, EncoderDecoder)
    return built


def batches(how: Training, store: Store, tokens: int) -> Batches:
    """Updates of so many target tokens."""
    return Batches(store=store, tokens=tokens, groups=how.groups, seed=how.seed, microbatch=how.microbatch)


@contextmanager
def training(
    how: Training, step: Step, made: Batches, device: torch.device
) -> Iterator[Generator[Update, None, None]]:
    """Updates as seqx makes them, for as long as somebody asks."""
    with BatchLoader(made, device=device) as plans:
        yield updates(
            GradientAccumulation(
                strategy=Strategy(step), device=device, precision=precision_of(how.precision, device)
            ),
            how.optimizer.build(step),
            partial(how.schedule, steps=how.steps),
            plans,
            clip=how.clip,
            done=0,
        )
