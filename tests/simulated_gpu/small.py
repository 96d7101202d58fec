"""Small models to train and decode on both devices, to compare the results."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

import seqx
from seqx import recipe
from seqx.data.batches import Batches
from seqx.data.loader import BatchLoader
from seqx.data.store import Store
from seqx.parallel.parallelism import SingleDevice, Step
from seqx.plugin.loading import load_plugins
from seqx.plugin.registry import Registry
from seqx.recipe import Configured
from seqx.runtime.devices import autocast
from seqx.training.config import Training
from seqx.training.gradient_accumulation import GradientAccumulation
from seqx.training.loop import updates
from seqx.training.update import Update

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
SIZES = {"source": 40, "target": 40}
STACK = "{type: transformer, layers: 1, dropout: 0, attention: {type: multihead, heads: 2}, "
STACK += "feedforward: {type: relu, width: 24}}"
TEXT = f"""\
model: {{type: encoder_decoder, d_model: 16, encoder: {STACK}, decoder: {STACK}}}
training:
  steps: 50
  tokens: 100
  clip: 1.0
  objective: {{type: cross_entropy, smoothing: 0.1}}
  optimizer: {{type: adam, eps: 1.0e-3}}
  schedule: {{type: constant, rate: 0.01}}
search: {{type: beam, size: 3, extra: 6, nbest: 2}}
"""


class Setup:
    """The content of the recipes of these tests.

    Args:
        model: the constructor of the model
        training: the settings of training
        search: the search
    """

    def __init__(self, *, model: seqx.Make[seqx.Model], training: Training, search: seqx.Search) -> None:
        self.model, self.training, self.search = model, training, search


@cache
def registry() -> Registry:
    return load_plugins().registry


def setup(folder: Path, overrides: Sequence[str]) -> Setup:
    return checked(folder, tuple(overrides))()


@cache
def checked(folder: Path, overrides: tuple[str, ...]) -> Configured[Setup]:
    """Return the checked recipe with some overrides."""
    file = folder / "small.yaml"
    file.write_text(TEXT, encoding="utf-8")
    return recipe.check(recipe.load(file, overrides=overrides).tree, registry(), Setup)


@dataclass
class Trained:
    """A model, and the updates with which it was trained."""

    model: seqx.Model
    updates: list[Update] = field(default_factory=list)

    @property
    def losses(self) -> list[float]:
        return [update.loss for update in self.updates]

    @property
    def weights(self) -> Mapping[str, Tensor]:
        return {name: tensor.cpu() for name, tensor in self.model.state_dict().items()}


@contextmanager
def training(
    config: Setup,
    store: Store,
    device: torch.device,
    precision: Literal["bf16", "fp32"] = "fp32",
    *,
    groups: int = 2,
    strategy: type[SingleDevice] = SingleDevice,
) -> Iterator[tuple[Trained, Generator[Update, None, None]]]:
    """Yield a model with fixed initial weights, and a generator of its updates of `groups` microbatches."""
    settings = config.training
    torch.manual_seed(1)
    model = config.model(SIZES)
    trained = strategy.of(Step(model, settings.objective), device)
    source = Batches(store=store, tokens=settings.tokens, groups=groups)
    with BatchLoader(source, device=device, prefetch=2) as batches:
        yield (
            Trained(trained.model),
            updates(
                GradientAccumulation(strategy=trained, device=device, precision=precision),
                trained.build_optimizer(settings.optimizer),
                partial(settings.schedule, steps=settings.steps),
                batches,
                clip=settings.clip,
                done=0,
            ),
        )


def train(
    config: Setup,
    store: Store,
    device: torch.device,
    precision: Literal["bf16", "fp32"] = "fp32",
    *,
    updates: int = 3,
    groups: int = 2,
) -> Trained:
    """Return the model after some updates."""
    with training(config, store, device, precision, groups=groups) as (result, stream):
        result.updates = [next(stream) for _ in range(updates)]
    result.model.eval()
    return result


SOURCE = seqx.Column.of(
    torch.tensor([[7, 8, 9, 2], [9, 5, 2, 0], [30, 31, 20, 2], [11, 2, 0, 0]]), torch.tensor([4, 3, 4, 2])
)
LIMITS = torch.tensor([20, 9, 15, 3])


@torch.no_grad()
def decode(
    model: seqx.Model,
    search: seqx.Search,
    device: torch.device,
    grammar: seqx.Grammar | None = None,
    *,
    precision: Literal["bf16", "fp32"] = "fp32",
    limits: Tensor = LIMITS,
) -> list[list[seqx.Hypothesis]]:
    """Return the answers of a search; of a model that does not generate, the most probable target tokens."""
    with autocast(device, precision):
        if not isinstance(model, seqx.Generator):
            return most_probable_targets(model, SOURCE.to(device))
        return [list(nbest) for nbest in search(model, SOURCE.to(device), limits, grammar)]


def most_probable_targets(model: seqx.Model, source: seqx.Column) -> list[list[seqx.Hypothesis]]:
    """Return one hypothesis for each sentence; its target has as many tokens as its source."""
    logits = model.head(model(seqx.Batch.of(source=source, target=source))).float()
    logprobs, ids = (values.cpu() for values in logits.log_softmax(-1).max(-1))
    lengths = source.layout.keep.sum(1).tolist()
    return [
        [seqx.Hypothesis(ids=row[:length], score=sum(values[:length]), logprob=sum(values[:length]))]
        for row, values, length in zip(ids.tolist(), logprobs.tolist(), lengths, strict=True)
    ]


def token_labels(model: seqx.Model, device: torch.device) -> dict[str, Any]:
    if not isinstance(model, seqx.Generator):
        return {}
    with torch.no_grad():
        return {name: labels.cpu() for name, labels in model.labels(model.encode(SOURCE.to(device))).items()}


NBestLists = Sequence[Sequence[seqx.Hypothesis]]


def assert_same_answers(actual: NBestLists, expected: NBestLists) -> None:
    """Assert that hypotheses are equal, and their scores equal up to rounding errors."""
    assert [[h.ids for h in nbest] for nbest in actual] == [[h.ids for h in nbest] for nbest in expected]
    for one, other in zip(chain.from_iterable(actual), chain.from_iterable(expected), strict=True):
        assert (one.score, one.logprob) == pytest.approx((other.score, other.logprob), rel=1e-4)
