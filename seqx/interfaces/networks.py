"""The interfaces of networks: positional encodings, attention, encoders, decoders, models.

Letters in shapes: B sentences, S source tokens, T target tokens, D = d_model, H heads, K the width of a
head, V symbols of a vocabulary.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqx.interfaces.values import BOS, KeyValue, Layers, Layout, Mask, Memory, State, Tokens


class PositionalEncoding(nn.Module):
    """Tells a stack of layers about order.

    There are five places where order can enter; an encoding overrides those it uses, and each of the others
    changes nothing. Positions are tensors, so that sentences of a batch may stand at different ones.

    Raises:
        ValueError: in the constructor, when the encoding cannot be built for `d_model` and `heads`
    """

    limit: int | None = None
    """The number of positions it can encode, when there is one; checked before a search."""

    def __init__(self, d_model: int, heads: int) -> None:
        super().__init__()
        self.d_model = d_model
        self.heads = heads

    def embed(self, x: Tensor, positions: Tensor) -> Tensor:
        """Before the first layer: word embeddings [B, T, D] at positions [B, T]."""
        return x

    def query(self, q: Tensor, positions: Tensor) -> Tensor:
        """In attention, before scoring: queries [B, H, T, K] at positions [B, T]."""
        return q

    def key(self, k: Tensor, positions: Tensor) -> Tensor:
        """In attention, before scoring: keys [B, H, S, K] at positions [B, S]; fewer heads, if they share."""
        return k

    def bias(self, q: Tensor, k: Tensor, q_positions: Tensor, k_positions: Tensor) -> Tensor | None:
        """In attention, added to the scores: [B or 1, H or 1, T, S], or None.

        `q` [B, H, T, K] arrives already divided by what the attention divides its scores by.
        """
        return None

    def values(self, weights: Tensor, q_positions: Tensor, k_positions: Tensor) -> Tensor | None:
        """In attention, added to the weighed values: [B, H, T, K] from weights [B, H, T, S], or None."""
        return None

    @property
    def acts_in_attention(self) -> bool:
        """Whether attention hears of order from it, and not the embeddings alone."""
        kind, silent = type(self), PositionalEncoding
        told = kind.query is not silent.query or kind.key is not silent.key
        return told or self.has_bias or self.has_value_term

    @property
    def has_bias(self) -> bool:
        """Whether `bias` may add something, so that an attention has to have scores."""
        return type(self).bias is not PositionalEncoding.bias

    @property
    def has_value_term(self) -> bool:
        """Whether `values` may add something, so that an attention has to have its weights at hand."""
        return type(self).values is not PositionalEncoding.values


class Positioned(NamedTuple):
    """A stretch of a sentence, and how its order is told."""

    encoding: PositionalEncoding
    layout: Layout

    @classmethod
    def unordered(cls, layout: Layout) -> "Positioned":
        """Where order does not matter, as in attention to another sequence."""
        return cls(_UNORDERED, layout)

    def query(self, q: Tensor) -> Tensor:
        """Queries [B, H, T, K] of this stretch."""
        return self.encoding.query(q, self.layout.positions)

    def key(self, k: Tensor) -> Tensor:
        """Keys [B, H, S, K] of this stretch."""
        return self.encoding.key(k, self.layout.positions)

    def bias(self, q: Tensor, memory: KeyValue) -> Tensor | None:
        """What is added to the scores of this stretch's queries against `memory`."""
        return self.encoding.bias(q, memory.keys, self.layout.positions, memory.layout.positions)

    def values(self, weights: Tensor, memory: KeyValue) -> Tensor | None:
        """What is added to the weighed values of `memory`."""
        return self.encoding.values(weights, self.layout.positions, memory.layout.positions)


_UNORDERED = PositionalEncoding(0, 0)


class Attention(nn.Module, ABC):
    """Gathers for each query the values whose keys match it.

    Projecting and attending are apart, so that the caller can keep what it projected: a decoder projects the
    source once a sentence, and its own past once a token.
    """

    heads: int = 1

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.d_model = d_model

    @abstractmethod
    def project(self, keys: Tensor, values: Tensor, positioned: Positioned) -> KeyValue:
        """Project what can be attended to, both [B, S, D]."""

    @abstractmethod
    def forward(self, queries: Tensor, positioned: Positioned, memory: KeyValue, mask: Mask) -> Tensor:
        """Attend from [B, T, D]; returns [B, T, D].

        A query that may look at nothing (padding) gives finite numbers.
        """

    def weights(self, queries: Tensor, positioned: Positioned, memory: KeyValue, mask: Mask) -> Tensor | None:
        """How much each query [B, T, D] takes of each value: [B, H, T, S]; None where there are no weights.

        For people who want to see where a model looks: given what `forward` is given, and without dropout.
        """
        return None

    def query_key_parameters(self) -> Iterable[nn.Parameter]:
        """Parameters that decide how well a key matches a query, and not what is gathered.

        Some initialisations spare them.
        """
        return ()

    def check(self, encoding: PositionalEncoding | None) -> None:
        """Whether it can do with these positions; stacks ask when they are built.

        None: it is to look at another sequence, whose positions compare with none of its own.

        Raises:
            ValueError: when positions would change nothing, or it is for one sequence only
        """


class Encoder(nn.Module, ABC):
    """Reads a whole sequence."""

    limit: int | None = None
    """The longest sequence it can read, when there is one."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.d_model = d_model

    @abstractmethod
    def forward(self, inputs: Tensor, layout: Layout) -> Tensor:
        """From embeddings [B, S, D] to states [B, S, D]; what stands on padding does not matter."""


class Decoder(nn.Module, ABC):
    """Writes a sequence, looking at a memory.

    One method serves training and search: advance by T tokens. Training advances a fresh state by the whole
    target, search advances a kept one by single tokens, and both give the same numbers.
    """

    limit: int | None = None
    """The longest sequence it can write, when there is one."""

    uses_source: bool = True
    """Whether it looks at a source; one that does cannot be started without."""

    source_setting: str = "attention"
    """Which setting decides whether it looks at a source, for messages."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.d_model = d_model

    def check(self, source: bool) -> None:
        """Whether it fits into a model that has a source to look at, or none; models ask when they are built.

        Raises:
            ValueError: when it needs a source that is not there, or passes over one that is
        """
        name = type(self).__name__
        if self.uses_source and not source:
            raise ValueError(
                f"decoder: {name} uses a source, but this model has none; "
                f"set {self.source_setting} so that it does not"
            )
        if source and not self.uses_source:
            raise ValueError(
                f"decoder: {name} does not use the source that this model encodes; "
                f"set {self.source_setting} so that it does"
            )

    @abstractmethod
    def start(self, memory: Memory | None, batch: int, capacity: int | None) -> State:
        """The state of `batch` sentences before the first token; None: there is no source (see `reads`).

        `capacity`: the most tokens that will be written, when known; a cache may be made that large at once.
        """

    @abstractmethod
    def forward(self, inputs: Tensor, state: State, keep: Tensor | None) -> tuple[Tensor, State]:
        """Advance by embeddings [B, T, D]; returns outputs [B, T, D] and the state after them.

        `keep` [B, T] bool is False on padding, which must be on the right; None: no padding.
        Consumes `state`.
        """


class Model(nn.Module, ABC):
    """p(target | source), one token after another."""

    limit: int | None = None
    """The most tokens it can read or write at once, when there is such a limit."""

    single_sequence: bool = False
    """Whether what it reads and what it writes are one sequence, so that `limit` is for both together."""

    d_model: int | None = None
    """The width of the states of the Memory that `encode` leaves, where it leaves one."""

    def __init__(self, vocab_sizes: Mapping[str, int]) -> None:
        super().__init__()
        self.vocab_sizes = dict(vocab_sizes)

    @abstractmethod
    def encode(self, source: Tokens) -> State:
        """Read the source [B, S]: a Memory, or a nest of them."""

    @abstractmethod
    def start(self, memory: State, capacity: int | None) -> State:
        """The state before the first target token; `capacity`: the most tokens that will be written."""

    @abstractmethod
    def advance(self, ids: Tensor, state: State, keep: Tensor | None) -> tuple[Tensor, State]:
        """After target ids [B, T]: outputs [B, T, D] that `head` reads, and the state. Consumes `state`."""

    @abstractmethod
    def head(self, outputs: Tensor) -> Tensor:
        """Logits [..., V] of each next token, from outputs [..., D]."""

    def forward(self, source: Tokens, target: Tokens) -> Tensor:
        """Outputs [B, T, D] before each token of the target [B, T]: what training learns from."""
        state = self.start(self.encode(source), target.ids.size(1))
        ids = F.pad(target.ids[:, :-1], (1, 0), value=BOS)
        return self.advance(ids, state, target.layout.keep)[0]

    def positions_used(self, source: int, target: int) -> int:
        """How many of its `limit` places a source and a target of so many tokens take."""
        return source + target - 1 if self.single_sequence else max(source, target)

    @property
    def has_token_labels(self) -> bool:
        """Whether `labels` gives any; else the source is not read for them."""
        return type(self).labels is not Model.labels

    def labels(self, memory: State) -> Mapping[str, Tensor]:
        """Log-probabilities [B, S, L] of labels of each source token, by column; most models give none."""
        return {}

    def score(self, source: Tokens, target: Tokens) -> Tensor:
        """Natural log-probability of each target token [B, T], in one pass; 0 on padding."""
        logits = self.head(self(source, target)).float()
        chosen = logits.gather(-1, target.ids[..., None])[..., 0] - logits.logsumexp(-1)
        return torch.where(target.layout.keep, chosen, 0.0)


class Ensemble(Model, ABC):
    """Several models that answer as one; built from models, never from a recipe.

    Raises:
        ValueError: in the constructor, for no models, or models whose vocabularies differ in size
    """

    def __init__(self, models: Sequence[Model]) -> None:
        sizes = [model.vocab_sizes for model in models]
        if not sizes or any(other != sizes[0] for other in sizes):
            raise ValueError(f"models can be combined when they have the same vocabularies, not {sizes}")
        super().__init__(sizes[0])
        self.models: Layers[Model] = Layers(models)
