"""Values that pass between components: tokens and their layout, memories, masks, hypotheses, scores.

Letters in shapes: B sentences, S source tokens, T target tokens, D = d_model, H heads, K the width of a
head, V symbols of a vocabulary.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Self, TypeVar

import torch
from torch import Tensor, nn

from seqx.errors import UserError
from seqx.interfaces.scores import PERPLEXITY, ValidationScore
from seqx.runtime.devices import to_device

PAD, BOS, EOS, UNK = 0, 1, 2, 3
"""The first four ids of every vocabulary: padding, beginning and end of a sentence, unknown symbol."""

WORDS = "words"
"""The column of a task that is 1 where a source token begins a word, and 0 elsewhere."""

State = Any
"""The state of a model between tokens: tensors whose first dimension is the batch, nested in tuples, named
tuples, lists and dicts, or None. Numbers that differ between sentences are tensors [B].
"""


class Layout(NamedTuple):
    """Which positions of a batch hold tokens, and the position of each token in its sentence."""

    keep: Tensor  # [B, S] bool, false on padding
    positions: Tensor  # [B, S] int64, from 0; arbitrary on padding
    segments: Tensor | None = None  # [B, S] int64: tokens attend only within their segment
    words: Tensor | None = None  # [B, S] int64: index of the word that a token belongs to; None: unknown

    @classmethod
    def of(cls, keep: Tensor, start: Tensor | None = None) -> Self:
        """Return a layout with the positions of all tokens.

        Args:
            keep: true for tokens, false for padding: [B, S] bool
            start: the position of the first token of each sentence: [B]; None: 0
        """
        positions = keep.long().cumsum(1) - 1
        return cls(keep, (positions if start is None else positions + start[:, None]).clamp_min(0))

    def extend(self, new: "Layout") -> "Layout":
        """Return this layout with the positions of `new` appended."""
        return Layout(*(_both(old, more) for old, more in zip(self, new, strict=True)))


def _both(old: Tensor | None, new: Tensor | None) -> Any:
    """Concatenate along the second dimension; None if one of them is None."""
    return None if old is None or new is None else torch.cat([old, new], 1)


class Tokens(NamedTuple):
    """The token ids of a batch of sentences, with their layout."""

    ids: Tensor  # [B, S] int64, PAD where layout.keep is false
    layout: Layout

    @classmethod
    def of(cls, ids: Tensor, lengths: Tensor, starts: Tensor | None = None) -> Self:
        """Return right-padded sentences.

        Args:
            ids: token ids [B, S], PAD behind the end of a sentence
            lengths: number of tokens of each sentence: [B]
            starts: 1 where a token begins a word, else 0: [B, S]; None: unknown
        """
        keep = torch.arange(ids.size(1), device=ids.device) < lengths[:, None]
        words = None if starts is None else starts.cumsum(1) - 1
        return cls(ids, Layout.of(keep)._replace(words=words))

    def to(self, device: torch.device) -> "Tokens":
        """Return a copy on another device, without waiting for it."""
        return Tokens(*_to((self.ids, self.layout), device))

    def pinned(self) -> "Tokens":
        """Return a copy in pinned memory, from which a GPU copies asynchronously."""
        return Tokens(*_map((self.ids, self.layout), Tensor.pin_memory))


class Memory(NamedTuple):
    """The output of an encoder for a decoder. S is 0 if there is no source."""

    states: Tensor  # [B, S, D]
    inputs: Tensor  # [B, S, D] the embedded source
    layout: Layout


class KeyValue(NamedTuple):
    """Projected keys and values of an attention; the second dimension from the right is time."""

    keys: Tensor  # multi-head: [B, H, S, K]
    values: Tensor
    layout: Layout

    def extend(self, new: "KeyValue") -> "KeyValue":
        """Return these keys and values with those of further tokens appended."""
        return KeyValue(
            torch.cat([self.keys, new.keys], -2),
            torch.cat([self.values, new.values], -2),
            self.layout.extend(new.layout),
        )


class Mask(NamedTuple):
    """The keys that a query may attend to, padding excluded."""

    causal: bool = False
    window: int | None = None  # maximum distance between positions

    def dense(self, queries: Layout, keys: Layout) -> Tensor:
        """Return [B, 1, T, S] bool, true where a query may attend; positions are compared, not indices."""
        visible = keys.keep[:, None, :]
        q, k = queries.positions[:, :, None], keys.positions[:, None, :]
        if self.causal:
            visible = visible & (k <= q)
        if self.window is not None:
            visible = visible & ((q - k).abs() <= self.window)
        if queries.segments is not None and keys.segments is not None:
            visible = visible & (queries.segments[:, :, None] == keys.segments[:, None, :])
        return visible.expand(-1, queries.keep.size(1), -1)[:, None]


@dataclass(frozen=True)
class Batch:
    """The examples of a microbatch in padded tensors."""

    columns: Mapping[str, Tokens]  # "source", "target", and further columns of the task
    count: int  # number of target tokens, known without reading from a device

    def to(self, device: torch.device) -> "Batch":
        """Return a copy on another device, without waiting for it."""
        return Batch({name: tokens.to(device) for name, tokens in self.columns.items()}, self.count)


@dataclass(frozen=True, kw_only=True)
class Example:
    """One training example: columns of token ids, and optionally the text that they were made from.

    `text` has the strings that `Task.encode` segments again in each epoch.
    """

    columns: Mapping[str, list[int]]
    text: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Rejected:
    """The reason why a row becomes no training example, such as "empty" or "too long"."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class Request:
    """An input with constraints on its answer.

    Args:
        text: the input
        prefix: the beginning of the answer; it may end within a word
        require: words or phrases that must occur in the answer
        forbid: words or phrases that must not occur
    """

    text: str
    prefix: str = ""
    require: tuple[str, ...] = ()
    forbid: tuple[str, ...] = ()

    @property
    def constrained(self) -> bool:
        """True if there is any constraint."""
        return bool(self.prefix or self.require or self.forbid)


@dataclass(frozen=True, kw_only=True)
class Hypothesis:
    """One output of a search."""

    ids: list[int]  # without BOS and EOS
    score: float  # the value by which the search ranked it
    logprob: float  # natural logarithm; includes EOS if it was written


@dataclass(frozen=True, kw_only=True)
class Score:
    """The value of a metric and its signature, which says how it was computed.

    Args:
        value: the value
        signature: everything that the value depends on besides the texts, such as versions and options
        lower_is_better: true for metrics such as perplexity
    """

    value: float
    signature: str
    lower_is_better: bool = False

    @property
    def rank(self) -> float:
        """A number that is larger for a better score; minus infinity for NaN."""
        if math.isnan(self.value):
            return -math.inf
        return -self.value if self.lower_is_better else self.value

    @property
    def at_worst(self) -> bool:
        """True for the worst value: 0.00 as printed, infinity if lower is better, or NaN."""
        if self.lower_is_better:
            return not math.isfinite(self.value)
        return math.isnan(self.value) or abs(self.value) < _PRINTED_AS_ZERO

    def beats(self, value: float) -> bool:
        """Return true if this score is better than another value of the same metric."""
        return self.rank > replace(self, value=value).rank

    def to_json(self) -> dict[str, float | str]:
        """Return the value and the signature, as files and JSON output hold them."""
        return {"value": self.value, "signature": self.signature}

    def __str__(self) -> str:
        """Return the text that commands print."""
        return f"{self.value:.2f}  {self.signature}"


_PRINTED_AS_ZERO = 0.005  # smaller values are printed as 0.00


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The answer of a model to one input, with the reference."""

    input: str
    output: str
    reference: str


@dataclass(frozen=True)
class AnswerWarning:
    """A property that users should know about, and how many inputs or answers have it.

    Args:
        message: the property, in words that can follow "2 of 5", such as "inputs have more than 256 tokens"
        count: how many have the property
        total: of how many. Give it even if `count` is 0, because both are summed over all inputs.
    """

    message: str
    count: int
    total: int

    def __str__(self) -> str:
        """Return the line that commands print."""
        return f"{self.count:,} of {self.total:,} {self.message}"


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The scores of a model on a split, and its answers."""

    scores: Mapping[str, Score]  # the main score first
    answers: Sequence[Answer] = ()
    perplexity: float | None = None  # per target token; seqx computes it if the task does not
    warnings: Sequence[AnswerWarning] = ()  # about the answers and the examples

    def validation_score(self, name: str | None = None) -> ValidationScore:
        """Return the score called `name`, or perplexity; without a name the main score.

        Raises:
            UserError: there is no score of that name
        """
        found = dict(self.scores)
        if self.perplexity is not None:
            found.setdefault(PERPLEXITY, Score(value=self.perplexity, signature="", lower_is_better=True))
        name = next(iter(found), None) if name is None else name
        if name is None or name not in found:
            raise UserError(
                f"training: a validation has no score called {name!r}; "
                f"select and patience can name one of these: {', '.join(found)}"
            )
        score = found[name]
        return ValidationScore(
            name=name,
            value=score.value,
            rank=score.rank,
            at_worst=score.at_worst,
            perplexity=self.perplexity,
        )


def _to(state: State, device: torch.device) -> State:
    return _map(state, lambda tensor: to_device(tensor, device))


def rows(state: State, index: Tensor) -> State:
    """Return the state of some sentences of a batch.

    Args:
        state: any nest of tensors
        index: [N] int64: the sentences in their new order; some may occur several times
    """
    select = getattr(state, "select", None)
    if select is not None and not isinstance(state, Tensor):
        return select(index)
    return _map(state, lambda tensor: tensor[index], lambda part: rows(part, index))


def fork(state: State, n: int) -> State:
    """Return a state in which each sentence is repeated `n` times, side by side, as a beam needs it."""
    split = getattr(state, "fork", None)
    if split is not None:
        return split(n)
    return _map(state, lambda tensor: tensor.repeat_interleave(n, 0), lambda part: fork(part, n))


def _map(state: State, change: Any, descend: Any = None) -> State:
    descend = descend or (lambda part: _map(part, change))
    match state:
        case None:
            return None
        case Tensor():
            return change(state)
        case tuple() if hasattr(state, "_fields"):
            return type(state)(*(descend(part) for part in state))
        case tuple() | list():
            return type(state)(descend(part) for part in state)
        case dict():
            return {key: descend(part) for key, part in state.items()}
        case _:
            raise TypeError(f"a state must be a nest of tensors, not {type(state).__name__}")


M = TypeVar("M", bound=nn.Module)
T = TypeVar("T")


class Layers(nn.ModuleList, Generic[M]):
    """The layers of a stack, typed as a list of M. `compile` and `fully_shard` treat each layer as a unit."""

    if TYPE_CHECKING:

        def __iter__(self) -> Iterator[M]: ...
        def __getitem__(self, index: int) -> M: ...  # type: ignore[override]


def per_layer(value: T | Sequence[T], layers: int, setting: str) -> list[T]:
    """Return one value for each layer, from one value for all or a list.

    Args:
        value: one value, or one for each layer
        layers: number of layers
        setting: the name of the setting, for the message

    Raises:
        ValueError: the list has another length
    """
    if not isinstance(value, Sequence):
        return [value] * layers
    if len(value) != layers:
        raise ValueError(
            f"{setting}: {len(value)} values for {layers} layers; give one value, or one for each layer"
        )
    return list(value)
