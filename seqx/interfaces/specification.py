"""Descriptions of models that name no classes, from which exporters write other formats.

Components return them from `specification`. So an exporter need not know the classes of components, and a
component of another plugin can be exported if it describes itself.

Letters in shapes: V symbols of a vocabulary, D = d_model, O outputs and I inputs of a linear map.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

from torch import Tensor, nn

S_co = TypeVar("S_co", covariant=True)


@dataclass(frozen=True, kw_only=True)
class LinearSpec:
    """A linear map x W' + b."""

    weight: Tensor  # W [O, I]
    bias: Tensor | None = None  # b [O]

    @classmethod
    def of(cls, linear: nn.Linear) -> "LinearSpec":
        """Return the description of a linear map."""
        return cls(weight=linear.weight, bias=linear.bias)


@dataclass(frozen=True, kw_only=True)
class NormSpec:
    """A norm of vectors [D]: layer normalisation, or root mean square normalisation without bias."""

    kind: Literal["layernorm", "rmsnorm"]
    weight: Tensor  # [D]
    bias: Tensor | None = None  # [D]
    eps: float


@dataclass(frozen=True, kw_only=True)
class FeedForwardSpec:
    """A feed-forward network: outer(f(inner(x))), or outer(f(gate(x)) * inner(x)) if it has a gate."""

    activation: Literal["relu", "gelu", "silu"]  # f
    inner: LinearSpec
    outer: LinearSpec
    gate: LinearSpec | None = None


@dataclass(frozen=True, kw_only=True)
class AttentionSpec:
    """Dot-product attention: each head computes softmax(scale q k') v.

    The heads are divided evenly into groups, in order. The heads of a group share keys and values.
    """

    heads: int
    groups: int  # number of heads of the keys and values
    scale: float  # factor of the scores
    query: LinearSpec  # head by head
    key: LinearSpec  # group by group
    value: LinearSpec
    output: LinearSpec


@dataclass(frozen=True, kw_only=True)
class PositionsSpec:
    """A positional encoding: vectors that are added to embeddings, or a rotation of queries and keys."""

    kind: Literal["none", "sinusoidal", "learned", "rotary"]
    base: float | None = (
        None  # of the wavelengths, if it is sinusoidal or rotary; pairs of features are adjacent
    )
    vectors: Callable[[int], Tensor] | None = None  # returns the vectors [N, D] of positions 0 ... N - 1


@dataclass(frozen=True, kw_only=True)
class LayerSpec:
    """A layer of a Transformer. Each norm belongs to the sub-layer before it."""

    attention: AttentionSpec
    attention_norm: NormSpec
    cross_attention: AttentionSpec | None = None
    cross_norm: NormSpec | None = None
    feedforward: FeedForwardSpec
    feedforward_norm: NormSpec


@dataclass(frozen=True, kw_only=True)
class StackSpec:
    """The encoder or the decoder of a Transformer."""

    layers: Sequence[LayerSpec]
    positions: PositionsSpec
    norm_order: Literal["post", "pre"]
    residual_scale: float  # factor of a sub-layer's input in the residual sum
    norm: NormSpec | None = None  # after the last layer
    limit: int | None = None  # maximum number of positions


@dataclass(frozen=True, kw_only=True)
class EmbeddingSpec:
    """The embeddings of a vocabulary."""

    weight: Tensor  # [V, D]
    scale: float  # factor of the embeddings


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A model that writes its target token by token. Weights that are tied are the same object.

    A model without an encoder reads the source and the target as one sequence.
    """

    d_model: int
    encoder: StackSpec | None
    decoder: StackSpec
    source: EmbeddingSpec
    target: EmbeddingSpec
    projection: Tensor  # [V, D]
    projection_bias: Tensor | None = None  # [V]


@dataclass(frozen=True, kw_only=True)
class TokenizerSpec:
    """A SentencePiece model that segments a text like the tokenizer."""

    symbols: Sequence[str]  # of each id; PAD, BOS, EOS and UNK are <pad>, <s>, </s> and <unk>
    sentencepiece: bytes  # the serialised model


@dataclass(frozen=True, kw_only=True)
class TextSpec:
    """The way in which a task segments its texts. The source ends with EOS, and so does the target."""

    source: TokenizerSpec
    target: TokenizerSpec
    source_begins: Sequence[str] = ()  # symbols before the first symbol of a source
    source_ends: Sequence[str] = ("</s>",)  # symbols after the last symbol of a source
    source_normalizers: Sequence[str] = ()  # names of classes, applied in this order
    target_normalizers: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class SearchSpec:
    """A beam search; greedy search has the beam size 1.

    Hypotheses are ranked by logprob / ((5 + length) / 6)^alpha, or by logprob / length^alpha. The length
    counts EOS.
    """

    size: int
    alpha: float
    nbest: int
    ratio: float  # the maximum length is ratio * source length + extra, EOS excluded in both
    extra: int
    changes_scores: bool  # true if score processors change the scores of the model
    penalty: Literal["gnmt", "length"] = "gnmt"  # ((5 + length) / 6)^alpha, or length^alpha
    stop: Literal["bound", "estimate", "full"] = "bound"  # when a sentence is done, see `normalized_beam`


class Specified(Protocol[S_co]):
    """A component that can describe itself."""

    def specification(self) -> S_co:
        """Return the description."""
        ...


class UnspecifiedError(Exception):
    """A component that does not describe itself.

    Args:
        name: the class of the component
        setting: the path to its setting, such as encoder, positions
    """

    def __init__(self, name: str, *setting: str) -> None:
        super().__init__(f"{'.'.join(setting)}: {name} has no specification")
        self.name = name
        self.setting = setting


def describe(component: Specified[S_co], *setting: str) -> S_co:
    """Return the description of a component.

    A description is valid for the class that defines `specification`, because a subclass may compute
    something else. So a subclass must define it, too, if it can be exported.

    Args:
        component: the component
        setting: the path to its setting, for error messages

    Raises:
        UnspecifiedError: the component or one of its parts does not describe itself
    """
    if "specification" not in vars(type(component)):
        raise UnspecifiedError(type(component).__name__, *setting)
    try:
        return component.specification()
    except UnspecifiedError as error:
        raise UnspecifiedError(error.name, *setting, *error.setting) from None
