"""What passes between components: tokens and where they stand, memories, masks, hypotheses.

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
"""The first four ids of every vocabulary: padding, before a sentence, after it, unknown."""

WORDS = "words"
"""The column that says which tokens of the source begin a word (1, else 0), where a task has one."""

State = Any
"""What a model remembers between tokens: tensors whose first dimension is the batch, nested in tuples,
named tuples, lists and dicts (None where there is nothing). Numbers that differ by sentence are
tensors [B]."""


class Layout(NamedTuple):
    """Which places of a batch hold tokens, and where in its sentence each of them stands."""

    keep: Tensor  # [B, S] bool, False on padding
    positions: Tensor  # [B, S] int64, from 0; any number on padding
    segments: Tensor | None = None  # [B, S] int64: sentences packed into one row do not see each other
    words: Tensor | None = None  # [B, S] int64: which word a token is a part of, from 0, where a task tells

    @classmethod
    def of(cls, keep: Tensor, start: Tensor | None = None) -> Self:
        """Positions counted over kept places [B, S], from `start` [B] on."""
        positions = keep.long().cumsum(1) - 1
        return cls(keep, (positions if start is None else positions + start[:, None]).clamp_min(0))

    def extend(self, new: "Layout") -> "Layout":
        """With further places appended."""
        return Layout(*(_both(old, more) for old, more in zip(self, new, strict=True)))


def _both(old: Tensor | None, new: Tensor | None) -> Any:
    """One after the other; what one of the two lacks is unknown."""
    return None if old is None or new is None else torch.cat([old, new], 1)


class Tokens(NamedTuple):
    """Token ids of a batch of sentences."""

    ids: Tensor  # [B, S] int64, PAD where layout.keep is False
    layout: Layout

    @classmethod
    def of(cls, ids: Tensor, lengths: Tensor, starts: Tensor | None = None) -> Self:
        """Right-padded ids [B, S] of sentences that have `lengths` [B] tokens.

        `starts` [B, S] is 1 where a token begins a word, and 0 elsewhere.
        """
        keep = torch.arange(ids.size(1), device=ids.device) < lengths[:, None]
        words = None if starts is None else starts.cumsum(1) - 1
        return cls(ids, Layout.of(keep)._replace(words=words))

    def to(self, device: torch.device) -> "Tokens":
        """On another device, without waiting for the copy."""
        return Tokens(*_to((self.ids, self.layout), device))

    def pinned(self) -> "Tokens":
        """In memory from which a GPU can copy without anybody waiting."""
        return Tokens(*_map((self.ids, self.layout), Tensor.pin_memory))


class Memory(NamedTuple):
    """What an encoder leaves for a decoder. Zero places: there is nothing to read (a language model)."""

    states: Tensor  # [B, S, D]
    inputs: Tensor  # [B, S, D] the embedded source that the states were made from
    layout: Layout


class KeyValue(NamedTuple):
    """Keys and values as an attention projected them; time is the second dimension from the right."""

    keys: Tensor  # multi-head: [B, H, S, K]
    values: Tensor
    layout: Layout

    def extend(self, new: "KeyValue") -> "KeyValue":
        """With the keys and values of further tokens appended."""
        return KeyValue(
            torch.cat([self.keys, new.keys], -2),
            torch.cat([self.values, new.values], -2),
            self.layout.extend(new.layout),
        )


class Mask(NamedTuple):
    """Which keys a query may look at: those that hold tokens, and of these none ahead, none too far away."""

    causal: bool = False
    window: int | None = None  # the largest distance between positions

    def dense(self, queries: Layout, keys: Layout) -> Tensor:
        """As [B, 1, T, S] bool, True where a query may look. Compares positions, never indices."""
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
    """Sentences that are trained on at once."""

    columns: Mapping[str, Tokens]  # "source", "target", and what a task adds
    count: int  # target tokens, known from the plan without asking a device

    def to(self, device: torch.device) -> "Batch":
        """On another device, without waiting for the copy."""
        return Batch({name: tokens.to(device) for name, tokens in self.columns.items()}, self.count)


@dataclass(frozen=True, kw_only=True)
class Example:
    """One sentence pair, or whatever a task learns from: columns of ids, and the text they were made from.

    `text` has what stochastic encodings are made from again in each epoch, under the columns' names.
    """

    columns: Mapping[str, list[int]]
    text: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Rejected:
    """Why a row of a corpus makes no example: "empty", "too long", ..."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class Request:
    """An input, and what its answer is to be.

    Args:
        text: the input
        prefix: what the answer begins with; it may end within a word
        require: words or phrases that occur in the answer
        forbid: words or phrases that do not
    """

    text: str
    prefix: str = ""
    require: tuple[str, ...] = ()
    forbid: tuple[str, ...] = ()

    @property
    def constrained(self) -> bool:
        """Whether it asks for anything."""
        return bool(self.prefix or self.require or self.forbid)


@dataclass(frozen=True, kw_only=True)
class Hypothesis:
    """One answer of a search."""

    ids: list[int]  # without BOS and EOS
    score: float  # what the search ranked by
    logprob: float  # natural logarithm, EOS included where it was written


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
    """What a model answered to one input."""

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
    """How well a model did on a split."""

    scores: Mapping[str, Score]  # the main score first
    answers: Sequence[Answer] = ()
    perplexity: float | None = None  # of a target token; the core computes it where the task did not
    warnings: Sequence[AnswerWarning] = ()  # about the answers and the examples

    def validation_score(self, name: str | None = None) -> ValidationScore:
        """Return the score called `name`, or the perplexity; without a name the first score.

        Raises:
            UserError: there is none of that name
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
    """The state of some sentences of a batch, in the order of `index` [N] int64; some may occur twice."""
    select = getattr(state, "select", None)
    if select is not None and not isinstance(state, Tensor):
        return select(index)
    return _map(state, lambda tensor: tensor[index], lambda part: rows(part, index))


def fork(state: State, n: int) -> State:
    """Each sentence `n` times, next to each other: the state of a beam."""
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
            raise TypeError(f"a state is a nest of tensors, found {type(state).__name__}")


M = TypeVar("M", bound=nn.Module)
T = TypeVar("T")


class Layers(nn.ModuleList, Generic[M]):
    """A stack's layers, to type checkers a list of M; compile and fully_shard take each as a unit."""

    if TYPE_CHECKING:

        def __iter__(self) -> Iterator[M]: ...
        def __getitem__(self, index: int) -> M: ...  # type: ignore[override]


def per_layer(value: T | Sequence[T], layers: int, setting: str) -> list[T]:
    """One value for each layer, from one for all or a list of them.

    Args:
        value: a number, a `Make`, ...; or several
        layers: how many there are
        setting: what the recipe calls it

    Raises:
        ValueError: when a list has another length
    """
    if not isinstance(value, Sequence):
        return [value] * layers
    if len(value) != layers:
        raise ValueError(f"{setting} lists {len(value)} for {layers} layers; name one for each layer")
    return list(value)
