"""Interfaces and components for tests of recipes, registry and commands, which use no real plugin."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, ClassVar, Literal

import pytest
from annotated_types import Ge, Gt, Lt
from torch import nn

from seqx.plugin.registry import Make, Registry

Share = Annotated[float, Ge(0), Lt(1)]


class Positions(ABC):
    """A positional encoding."""

    def __init__(self, d_model: int) -> None:
        self.d_model = d_model

    @abstractmethod
    def describe(self) -> str: ...


class Rotary(Positions):
    """Rotary positions.

    Args:
        base: base of the geometric series
            of wavelengths
    """

    def __init__(self, d_model: int, *, base: float = 10000.0) -> None:
        super().__init__(d_model)
        self.base = base

    def describe(self) -> str:
        return f"rotary {self.base}"


class Attention(nn.Module):
    """An attention module."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.d_model = d_model


class MultiHead(Attention):
    """Multi-head attention.

    Args:
        heads: number of heads; divides d_model
        bias: true: the projection has a bias
    """

    def __init__(self, d_model: int, *, heads: Annotated[int, Gt(0)] = 8, bias: bool = True) -> None:
        super().__init__(d_model)
        if d_model % heads:
            raise ValueError(f"heads={heads} does not divide d_model={d_model}")
        self.project = nn.Linear(d_model, d_model, bias=bias)


class Additive(Attention):
    """Additive attention."""


class Encoder(nn.Module):
    """An encoder."""

    def __init__(self, d_model: int) -> None:
        super().__init__()


class Stack(Encoder):
    """A stack of attention layers.

    Args:
        layers: number of layers
        attention: attention of all layers, or a list with one for each layer
        positions: positional encoding; null: none
        dropout: probability of dropout
    """

    def __init__(
        self,
        d_model: int,
        *,
        layers: Annotated[int, Gt(0)] = 6,
        attention: Make[Attention] | list[Make[Attention]] = MultiHead,
        positions: Make[Positions] | None = None,
        dropout: Share = 0.1,
    ) -> None:
        super().__init__(d_model)
        makers = attention if isinstance(attention, list) else [attention] * layers
        self.layers = nn.ModuleList(make(d_model) for make in makers)
        self.positions = positions(d_model) if positions else None
        self.dropout = dropout


class LSTM(Encoder):
    """A recurrent encoder.

    Args:
        width: width of the state
    """

    def __init__(self, d_model: int, *, width: int) -> None:
        super().__init__(d_model)
        self.width = width


class Model(nn.Module):
    """A model."""

    def __init__(self, vocab_sizes: Mapping[str, int]) -> None:
        super().__init__()


class EncoderDecoder(Model):
    """A model with an encoder.

    Args:
        d_model: width of embeddings and states
        encoder: the encoder
        share: embeddings that are tied
    """

    def __init__(
        self,
        vocab_sizes: Mapping[str, int],
        *,
        d_model: int,
        encoder: Make[Encoder],
        share: Literal["all", "none"] = "none",
    ) -> None:
        super().__init__(vocab_sizes)
        self.embedding = nn.Embedding(vocab_sizes["source"], d_model)
        self.encoder = encoder(d_model)


class Metric:
    """A metric."""


@dataclass(frozen=True, kw_only=True)
class Bleu(Metric):
    """A metric of n-grams.

    Args:
        order: maximum length of an n-gram
    """

    order: int = 4


class Chrf(Metric):
    """A metric of characters."""


class Task:
    """A task."""


class Translation(Task):
    """A translation task.

    Args:
        source: the source language
        metrics: the metrics
        folder: the folder of the text
        limits: maximum length of each side
    """

    def __init__(
        self,
        *,
        source: str = "en",
        metrics: Sequence[Metric] = (Bleu(),),
        folder: Path | None = None,
        limits: dict[str, int] | None = None,
    ) -> None:
        self.source, self.metrics, self.folder, self.limits = source, metrics, folder, limits
        self.vocab_sizes = {"source": 10}


@dataclass(frozen=True, kw_only=True)
class Training:
    """Settings of training.

    Args:
        steps: number of updates
        rate: learning rate
        betas: coefficients of Adam
        stop: update after which training stops
    """

    initial_model: ClassVar[None] = None  # training does not start from another model
    embeddings: ClassVar[Mapping[str, str]] = {}  # nor from pretrained vectors
    steps: int
    rate: float = 1e-4
    betas: tuple[Share, Share] = (0.9, 0.98)
    stop: Annotated[int, Gt(0)] | Literal["never"] = "never"

    def schedule_warning(self) -> None:
        """Return no warning: the rate is constant."""


class Experiment:
    """The root of a recipe."""

    def __init__(
        self,
        *,
        task: Task,
        model: Make[Model],
        training: Training,
        extra: Mapping[str, Metric] | None = None,
    ) -> None:
        self.task, self.model, self.training, self.extra = task, model, training, extra


@pytest.fixture
def sample_plugin() -> SimpleNamespace:
    """Return an object that has the classes of this file, and a registry of them as `registry`."""
    registry = Registry()
    registry.add(Positions, rotary=Rotary)
    registry.add(Attention, multihead=MultiHead, additive=Additive)
    registry.add(Encoder, stack=Stack, lstm=LSTM)
    registry.add(Model, encoder_decoder=EncoderDecoder)
    registry.add(Metric, bleu=Bleu, chrf=Chrf)
    registry.add(Task, translation=Translation)
    return SimpleNamespace(registry=registry, **{c.__name__: c for c in CLASSES})


CLASSES = (
    Additive,
    Attention,
    Bleu,
    Chrf,
    Encoder,
    EncoderDecoder,
    Experiment,
    LSTM,
    Metric,
    Model,
    MultiHead,
    Positions,
    Rotary,
    Stack,
    Task,
    Training,
    Translation,
)
