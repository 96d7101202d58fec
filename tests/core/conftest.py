"""A small house of interfaces and components, so that the core is tested without any plugin."""

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
    def tell(self) -> str: ...


class Rotary(Positions):
    """Turns by angles.

    Args:
        base: of the geometric series
            of wavelengths
    """

    def __init__(self, d_model: int, *, base: float = 10000.0) -> None:
        super().__init__(d_model)
        self.base = base

    def tell(self) -> str:
        return f"rotary {self.base}"


class Attention(nn.Module):
    """Weighs what to look at."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.d_model = d_model


class MultiHead(Attention):
    """Several subspaces at once.

    Args:
        heads: number of subspaces; divides d_model
        bias: whether the projections have one
    """

    def __init__(self, d_model: int, *, heads: Annotated[int, Gt(0)] = 8, bias: bool = True) -> None:
        super().__init__(d_model)
        if d_model % heads:
            raise ValueError(f"heads={heads} does not divide d_model={d_model}")
        self.project = nn.Linear(d_model, d_model, bias=bias)


class Additive(Attention):
    """One hidden layer."""


class Encoder(nn.Module):
    """Reads a source."""

    def __init__(self, d_model: int) -> None:
        super().__init__()


class Stack(Encoder):
    """Layers upon layers.

    Args:
        layers: how many
        attention: of each layer, or of one after the other
        positions: how order is told, if at all
        dropout: share dropped
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
        each = attention if isinstance(attention, list) else [attention] * layers
        self.layers = nn.ModuleList(make(d_model) for make in each)
        self.positions = positions(d_model) if positions else None
        self.dropout = dropout


class LSTM(Encoder):
    """A recurrent one.

    Args:
        width: of its state
    """

    def __init__(self, d_model: int, *, width: int) -> None:
        super().__init__(d_model)
        self.width = width


class Model(nn.Module):
    """From source to target."""

    def __init__(self, vocab_sizes: Mapping[str, int]) -> None:
        super().__init__()


class EncoderDecoder(Model):
    """One reads, one writes.

    Args:
        d_model: width of everything
        encoder: reads
        share: embeddings that are one
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
    """Compares."""


@dataclass(frozen=True, kw_only=True)
class Bleu(Metric):
    """The usual one.

    Args:
        order: longest n-gram
    """

    order: int = 4


class Chrf(Metric):
    """By characters."""


class Task:
    """A task."""


class Translation(Task):
    """From one language to another.

    Args:
        source: the language
        metrics: to be told
        folder: where texts lie
        limits: longest of each
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
        steps: updates
        rate: of learning
        betas: of Adam
        stop: when to, by hand or not at all
    """

    init_from: ClassVar[None] = None  # it starts from no other model
    steps: int
    rate: float = 1e-4
    betas: tuple[Share, Share] = (0.9, 0.98)
    stop: Annotated[int, Gt(0)] | Literal["never"] = "never"


class Experiment:
    """The root."""

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
def house() -> SimpleNamespace:
    """The house's classes, and `registry`, in which the components have names."""
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
