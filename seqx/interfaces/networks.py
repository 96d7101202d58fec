"""The interfaces of networks: positional encodings, attention, encoders, decoders, models, generators.

Letters in shapes: B sentences, S source tokens, T target tokens, D = d_model, H heads, K the width of a
head, V symbols of a vocabulary.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from seqx.interfaces.slots import Slots, StateSlots
from seqx.interfaces.specification import (
    AttentionSpec,
    ModelSpec,
    PositionsSpec,
    StackSpec,
    UnspecifiedError,
)
from seqx.interfaces.tensors import (
    Batch,
    Column,
    KeyValue,
    Layers,
    Layout,
    Mask,
    Memory,
    ScaledEmbedding,
    State,
    smallest_limit,
)

Integers = np.ndarray[Any, np.dtype[np.integer[Any]]]
"""A NumPy array of integers."""


class PositionalEncoding(nn.Module):
    """Information about the order of tokens, for one stack of layers.

    It can act at five points of a stack, and has a method for each. A subclass overrides the methods that it
    needs; the inherited methods change nothing. Positions are tensors, because the sentences of a batch may
    be at different positions.

    Raises:
        ValueError: in the constructor, if the encoding does not support `d_model` or `heads`
    """

    limit: int | None = None
    """The number of positions that the encoding supports; None: any. Checked before training and search."""

    def __init__(self, d_model: int, heads: int) -> None:
        super().__init__()
        self.d_model = d_model
        self.heads = heads

    def prepare(self, positions: Tensor) -> "PositionalEncoding":
        """Return an encoding with the same results, and with precomputed values for `positions` [B, T].

        A stack calls it once per pass, and uses the result in all layers. The result must also be correct at
        other positions.
        """
        return self

    def embed(self, x: Tensor, positions: Tensor) -> Tensor:
        """Return embeddings [B, T, D] with positions [B, T] added; called before the first layer."""
        return x

    def query(self, q: Tensor, positions: Tensor) -> Tensor:
        """Return queries [B, H, T, K] at positions [B, T], changed before scores are computed."""
        return q

    def key(self, k: Tensor, positions: Tensor) -> Tensor:
        """Return keys [B, H, S, K] at positions [B, S], changed before scores are computed.

        An attention whose heads share keys passes fewer than H heads.
        """
        return k

    def bias(self, q: Tensor, k: Tensor, q_positions: Tensor, k_positions: Tensor) -> Tensor | None:
        """Return a term that attention adds to its scores: [B or 1, H or 1, T, S], or None.

        Args:
            q: queries [B, H, T, K], already scaled: their products with the keys are the scores
            k: keys [B, H, S, K]
            q_positions: positions of the queries [B, T]
            k_positions: positions of the keys [B, S]
        """
        return None

    def values(self, weights: Tensor, q_positions: Tensor, k_positions: Tensor) -> Tensor | None:
        """Return a term that attention adds to its weighted values: [B, H, T, K], or None.

        Args:
            weights: attention weights [B, H, T, S]
            q_positions: positions of the queries [B, T]
            k_positions: positions of the keys [B, S]
        """
        return None

    @property
    def acts_in_attention(self) -> bool:
        """True if attention uses the encoding; false if it changes embeddings only."""
        cls, base = type(self), PositionalEncoding
        changes = cls.query is not base.query or cls.key is not base.key
        return changes or self.has_bias or self.has_value_term

    @property
    def has_bias(self) -> bool:
        """True if `bias` may return a term, which requires an attention that computes scores."""
        return type(self).bias is not PositionalEncoding.bias

    @property
    def has_value_term(self) -> bool:
        """True if `values` may return a term, which requires an attention that computes weights."""
        return type(self).values is not PositionalEncoding.values

    def check(self, d_k: int, d_v: int) -> None:
        """Check that an attention can use the encoding; it calls this method once, when its stack is built.

        By default, it computes `values` for one token, and compares the width of the result with `d_v`.
        Override it if the encoding also has vectors for queries or keys, or if the widths can be compared
        without a computation, which is slow on the meta device.

        Args:
            d_k: width of each head's queries and keys
            d_v: width of each head's values

        Raises:
            ValueError: the encoding supports only other widths
        """
        if not self.has_value_term:
            return
        positions = torch.zeros(1, 1, dtype=torch.int64)
        with torch.no_grad():
            added = self.values(torch.ones(1, self.heads, 1, 1), positions, positions)
        if added is not None and added.size(-1) != d_v:
            raise ValueError(
                f"positions: vectors of width {added.size(-1)} cannot be added to values of width {d_v}; "
                f"set d_v of the positional encoding to {d_v}"
            )

    def specification(self) -> PositionsSpec:
        """Return a description for exporters; by default there is none (see `seqx.describe`)."""
        raise UnspecifiedError(type(self).__name__)


class Positioned(NamedTuple):
    """The layout of the queries or the keys of an attention, and the positional encoding of its stack."""

    encoding: PositionalEncoding  # of the stack
    layout: Layout  # of the queries or the keys

    @classmethod
    def unordered(cls, layout: Layout) -> "Positioned":
        """Return a layout without positional encoding, as for attention to another sequence."""
        return cls(_UNORDERED, layout)

    def query(self, q: Tensor) -> Tensor:
        """Return the queries [B, H, T, K] with their positions encoded."""
        return self.encoding.query(q, self.layout.positions)

    def key(self, k: Tensor) -> Tensor:
        """Return the keys [B, H, S, K] with their positions encoded."""
        return self.encoding.key(k, self.layout.positions)

    def bias(self, q: Tensor, memory: KeyValue) -> Tensor | None:
        """Return the term to add to the scores of queries [B, H, T, K] and `memory`, or None."""
        return self.encoding.bias(q, memory.keys, self.layout.positions, memory.layout.positions)

    def values(self, weights: Tensor, memory: KeyValue) -> Tensor | None:
        """Return the term to add to the weighted values of `memory`, from weights [B, H, T, S], or None."""
        return self.encoding.values(weights, self.layout.positions, memory.layout.positions)


_UNORDERED = PositionalEncoding(0, 0)


class Attention(nn.Module, ABC):
    """Attention: each query gathers the values whose keys match it.

    Projection and attention are separate methods, so that a decoder projects the source once per sentence and
    each target token once.
    """

    heads: int = 1
    """The number of heads, H."""

    reads_packed_rows: ClassVar[bool] = False
    """True if queries attend only to keys of their own segment (`Layout.segments`), as in packed rows."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.d_model = d_model

    @abstractmethod
    def project(self, keys: Tensor, values: Tensor, positioned: Positioned) -> KeyValue:
        """Return the projections of keys and values, both [B, S, D], with the layout of `positioned`.

        Args:
            keys: the vectors that queries are compared with
            values: the vectors that are gathered; usually the same tensor as `keys`
            positioned: the layout and the positional encoding of the keys
        """

    def project_self(self, x: Tensor, positioned: Positioned) -> KeyValue:
        """Return the projections of x [B, T, D] for attention within a sequence.

        By default, this method projects keys and values, and `forward` projects the queries. Override it to
        project all three together: return the queries in the result, and `forward` takes them from there.

        Args:
            x: the vectors that attend to each other
            positioned: their layout and positional encoding
        """
        return self.project(x, x, positioned)

    @abstractmethod
    def forward(self, queries: Tensor, positioned: Positioned, memory: KeyValue, mask: Mask) -> Tensor:
        """Attend from queries [B, T, D] to `memory`, and return the outputs [B, T, D].

        Outputs must be finite even for a query that may attend to no key, such as padding.

        Args:
            queries: the vectors that attend
            positioned: the layout and the positional encoding of the queries
            memory: the result of `project`, possibly extended by the keys and values of further tokens
            mask: the keys that each query may attend to
        """

    def prepare(self, x: Tensor, positioned: Positioned, keys: Layout, mask: Mask) -> None:
        """Compute the tensors that `forward` will read from a shared mask, such as `mask.dense`.

        A stack calls it outside of compiled code. If it is not called, `forward` computes these tensors.

        Args:
            x: the input [B, T, D] of the first layer, for its dtype and device
            positioned: the layout and the positional encoding of the queries
            keys: the layout of the keys
            mask: the result of `Mask.share` for these layouts
        """

    def weights(self, queries: Tensor, positioned: Positioned, memory: KeyValue, mask: Mask) -> Tensor | None:
        """Return the attention weights [B, H, T, S], without dropout; None if the attention has no weights.

        The command-line option `--attention` calls it with the arguments of `forward`.
        """
        return None

    def query_key_parameters(self) -> Iterable[nn.Parameter]:
        """Return the parameters of the query and key projections, which DeepNorm does not scale."""
        return ()

    def check(self, encoding: PositionalEncoding | None) -> None:
        """Check that this attention can be used in a stack; stacks call it once, when they are built.

        Args:
            encoding: the positional encoding of the stack; None for attention to another sequence, whose
                positions cannot be compared with those of the queries

        Raises:
            ValueError: the encoding would have no effect, or the attention works within one sequence only
        """

    def specification(self) -> AttentionSpec:
        """Return a description for exporters; by default there is none (see `seqx.describe`)."""
        raise UnspecifiedError(type(self).__name__)


class Encoder(nn.Module, ABC):
    """A network that reads a whole sequence."""

    limit: int | None = None
    """The maximum sequence length, EOS included; None: any."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.d_model = d_model

    @property
    def reads_packed_rows(self) -> bool:
        """True if a row may hold several sequences, the segments of the layout."""
        return False

    @abstractmethod
    def forward(self, inputs: Tensor, layout: Layout) -> Tensor:
        """Return the states [B, S, D] of embeddings [B, S, D]. Outputs on padding are ignored."""

    def specification(self) -> StackSpec:
        """Return a description for exporters; by default there is none (see `seqx.describe`)."""
        raise UnspecifiedError(type(self).__name__)


class Decoder(nn.Module, ABC):
    """A network that writes a sequence token by token, and may attend to a memory.

    One method serves training and search: training advances a new state by the whole target, search advances
    a state by one token at a time. The outputs must be the same.
    """

    limit: int | None = None
    """The maximum sequence length, EOS included; None: any."""

    uses_source: bool = True
    """True if the decoder uses a source; such a decoder cannot be started without a source."""

    source_setting: str = "attention"
    """The name of the setting that turns the use of a source on and off; messages contain it."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.d_model = d_model

    def check(self, source: bool) -> None:
        """Check that this decoder fits a model with or without a source; models call it when they are built.

        Args:
            source: true if the model has a source

        Raises:
            ValueError: the decoder needs a source and there is none, or it would ignore the source
        """
        if self.uses_source and not source:
            raise ValueError(
                "decoder: it uses a source, but this model has none; "
                f"set {self.source_setting} so that it does not"
            )
        if source and not self.uses_source:
            raise ValueError(
                "decoder: it does not use the source that this model encodes; "
                f"set {self.source_setting} so that it does"
            )

    @abstractmethod
    def start(self, memory: Memory | None, batch: int, capacity: int | None) -> State:
        """Return the state of `batch` sentences before the first token.

        Args:
            memory: the output of the encoder; None: there is no source (see `uses_source`)
            batch: number of sentences, B
            capacity: maximum number of tokens that will be written, if it is known: a cache can then be
                allocated once
        """

    @abstractmethod
    def forward(self, inputs: Tensor, state: State, keep: Tensor | None) -> tuple[Tensor, State]:
        """Advance by embeddings [B, T, D]; return the outputs [B, T, D] and the state after these tokens.

        Args:
            inputs: embeddings of the tokens
            state: the state before these tokens; it must not be used afterwards, because caches may be
                updated in place
            keep: [B, T] bool, false on padding, which must be on the right; None: no padding
        """

    @property
    def reads_packed_rows(self) -> bool:
        """True if the decoder implements `read` for rows that hold several sequences."""
        return False

    def read(self, inputs: Tensor, memory: Memory | None, layout: Layout) -> Tensor:
        """Return the outputs [B, T, D] of rows that hold several sequences; training calls this.

        Called only if `reads_packed_rows` is true.

        Args:
            inputs: embeddings [B, T, D] of whole targets, shifted right: BOS first in each segment
            memory: the output of the encoder, whose segments have the same numbers; None: there is no source
            layout: the layout of the target, with segments
        """
        raise NotImplementedError(f"{type(self).__name__} reads no packed rows")

    @property
    def has_slots(self) -> bool:
        """True if the decoder implements `slots`; otherwise a search calls `forward`."""
        return type(self).slots is not Decoder.slots

    def slots(self, state: State, hypotheses: int, capacity: int | None) -> Slots:
        """Return slots whose `step` maps embeddings [N, D] to outputs [N, D], equal to those of `forward`.

        Their method `fill` takes such a state instead of encoded sentences. Called only if `has_slots` is
        true.

        Args:
            state: the state of one sentence per slot; it must not be used afterwards
            hypotheses: number of hypotheses of each slot
            capacity: maximum number of tokens that will be written in a slot, if it is known
        """
        raise NotImplementedError(f"{type(self).__name__} has no slots")

    def specification(self) -> StackSpec:
        """Return a description for exporters; by default there is none (see `seqx.describe`)."""
        raise UnspecifiedError(type(self).__name__)


class Model(nn.Module, ABC):
    """A network that predicts each token of the column "target" from the columns of a batch.

    Objectives train it, tasks ask it for answers, and references are scored with it. A model that writes the
    target token by token is a `Generator`.
    """

    limit: int | None = None
    """The maximum number of tokens that the model can read or write, EOS included; None: any."""

    single_sequence: bool = False
    """True if source and target form one sequence, so that `limit` applies to their total length."""

    removed_weights: ClassVar[Sequence[str]] = ()
    """Names of parameters that earlier versions of the model had; they are ignored in files of weights."""

    def __init__(self, vocab_sizes: Mapping[str, int]) -> None:
        super().__init__()
        self.vocab_sizes = dict(vocab_sizes)

    @property
    def reads_packed_rows(self) -> bool:
        """True if a row of source and target may hold several examples, the segments of their layouts."""
        return False

    @abstractmethod
    def forward(self, batch: Batch) -> Tensor:
        """Return the outputs [B, T, D] from which `head` predicts each token of the column "target".

        The output of a token may depend on earlier target tokens and on other columns, but neither on this
        token nor on later ones.
        """

    def head(self, outputs: Tensor) -> Tensor:
        """Return the logits [..., V] of target tokens, given outputs [..., D]; by default, the outputs."""
        return outputs

    @property
    def symbol_embeddings(self) -> Mapping[str, ScaledEmbedding]:
        """The embeddings of the symbols of "source" and "target", which pretrained vectors can replace."""
        return {}

    def score(self, batch: Batch) -> Tensor:
        """Return the natural log-probability of each target token [B, T], in one pass; 0 on padding."""
        target = batch.columns["target"]
        logits = self.head(self(batch)).float()
        chosen = logits.gather(-1, target.values[..., None])[..., 0] - logits.logsumexp(-1)
        return torch.where(target.layout.keep, chosen, 0.0)

    def positions_used(self, lengths: Mapping[str, Integers]) -> Integers:
        """Return the number of positions that each example uses, [N].

        An example that uses more positions than `limit` is not scored.

        Args:
            lengths: the number of tokens of each example in each column, [N]
        """
        if self.single_sequence:
            return lengths["source"] + lengths["target"] - 1
        used: Integers = np.maximum.reduce([*lengths.values()])
        return used

    def specification(self) -> ModelSpec:
        """Return a description for exporters; by default there is none (see `seqx.describe`)."""
        raise UnspecifiedError(type(self).__name__)


class Generator(Model):
    """A model of p(target | source) that writes the target token by token."""

    d_model: int | None = None
    """The width D of the states in the Memory that `encode` returns, if it returns a Memory."""

    @abstractmethod
    def encode(self, source: Column) -> State:
        """Encode the source [B, S]; return a Memory, or any nest of tensors whose first dimension is B."""

    @abstractmethod
    def start(self, memory: State, capacity: int | None) -> State:
        """Return the state before the first target token.

        Args:
            memory: the result of `encode`
            capacity: maximum number of tokens that will be written, if it is known
        """

    @abstractmethod
    def advance(self, ids: Tensor, state: State, keep: Tensor | None) -> tuple[Tensor, State]:
        """Advance by target ids [B, T]; return outputs [B, T, D] and the state after these tokens.

        Args:
            ids: the target tokens, shifted right: BOS first
            state: the state before these tokens; it must not be used afterwards
            keep: [B, T] bool, false on padding, which must be on the right; None: no padding
        """

    @abstractmethod
    def head(self, outputs: Tensor) -> Tensor:
        """Return the logits [..., V] of the next token, from outputs [..., D] of `advance`."""

    def slots(self, memory: State, count: int, hypotheses: int, capacity: int | None) -> Slots:
        """Return slots in which a search decodes sentences; their logits equal those of `advance`.

        Args:
            memory: the result of `encode` for one sentence per slot
            count: number of slots
            hypotheses: number of hypotheses of each slot
            capacity: maximum number of tokens that will be written in a slot, if it is known
        """
        return StateSlots(self, memory, count, hypotheses, capacity)

    def forward(self, batch: Batch) -> Tensor:
        """Return the outputs [B, T, D] from which `head` predicts each target token; training calls this."""
        return self.read_target(self.encode(batch.columns["source"]), batch.columns["target"])

    def read_target(self, memory: State, target: Column) -> Tensor:
        """Return the outputs [B, T, D] from which `head` predicts each token of whole targets.

        A model that reads packed rows overrides it: a layout with segments says that rows hold several
        examples.

        Args:
            memory: the result of `encode`, whose segments have the same numbers
            target: the target
        """
        return self.advance(target.shifted(), self.start(memory, target.values.size(1)), target.layout.keep)[
            0
        ]

    @property
    def has_token_labels(self) -> bool:
        """True if the model implements `labels`."""
        return type(self).labels is not Generator.labels

    def labels(self, memory: State) -> Mapping[str, Tensor]:
        """Return log-probabilities [B, S, L] of the labels of each source token, by the name of their column.

        By default, the mapping is empty. An objective trains the model to predict the labels in the column.
        `GenerationTask.write` gets the most probable labels.
        """
        return {}


class Ensemble(Model):
    """Several models that answer together.

    Commands build an ensemble if several models are named. A recipe cannot name one. The limit of an ensemble
    is the smallest limit of its models.

    Raises:
        ValueError: in the constructor, if there are no models or their vocabularies have different sizes
    """

    members: ClassVar[type[Model]] = Model  # type: ignore[type-abstract]
    """The type of the models. An ensemble whose models are generators must be a generator, too."""

    def __init__(self, models: Sequence[Model]) -> None:
        sizes = [model.vocab_sizes for model in models]
        if not sizes or any(other != sizes[0] for other in sizes):
            raise ValueError(f"models of an ensemble need the same vocabularies; their sizes are {sizes}")
        super().__init__(sizes[0])
        self.models: Layers[Model] = Layers(models)
        self.limit = smallest_limit(*(model.limit for model in models))
        self.single_sequence = any(model.single_sequence for model in models)

    def positions_used(self, lengths: Mapping[str, Integers]) -> Integers:
        """Return the number of positions that each example uses, [N], in the model with the fewest left.

        An example uses more positions than `limit` if it uses more than the limit of any of the models.
        """
        if self.limit is None:
            return super().positions_used(lengths)
        excess = [
            model.positions_used(lengths) - model.limit for model in self.models if model.limit is not None
        ]
        used: Integers = self.limit + np.maximum.reduce(excess)
        return used
