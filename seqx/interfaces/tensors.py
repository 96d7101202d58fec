"""Tensors that pass between components: columns and their layouts, memories, masks, states of models.

The file also defines modules that several plugins use: lists of layers, and embeddings.

Letters in shapes: B sentences, S source tokens, T target tokens, D = d_model, H heads, K the width of a
head, V symbols of a vocabulary.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Self, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqx.interfaces.specification import EmbeddingSpec
from seqx.runtime.devices import to_device

M = TypeVar("M", bound=nn.Module)
T = TypeVar("T")

PAD, BOS, EOS, UNK = 0, 1, 2, 3
"""The first four ids of every vocabulary: padding, beginning and end of a sentence, unknown symbol."""

WORDS = "words"
"""The column of a task that is 1 where a source token begins a word, and 0 elsewhere."""


class Features(int):
    """The number of features F of a column of vectors, which a task returns in place of a vocabulary size."""


State = Any
"""The state of a model between tokens: tensors whose first dimension is the batch, nested in tuples, named
tuples, lists and dicts, or None. Numbers that differ between sentences are tensors [B]. An object with its
own methods `select(index)` and `fork(n)` can also be a part of a state; `rows` and `fork` call them.
"""


class Layout(NamedTuple):
    """The entries of a batch that are tokens, not padding, and the position of each token in its sentence."""

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
        return Layout(*(_concatenate(old, more) for old, more in zip(self, new, strict=True)))


def _concatenate(old: Tensor | None, new: Tensor | None) -> Any:
    """Concatenate along the second dimension; None if one of them is None."""
    return None if old is None or new is None else torch.cat([old, new], 1)


class Column(NamedTuple):
    """One column of a batch: padded token ids, floats, or vectors, with their layout.

    An element is called a token, also if it is a vector, such as a frame of audio.
    """

    values: Tensor  # ids [B, S] int64, floats [B, S], or vectors [B, S, F] float32; 0 where keep is false
    layout: Layout  # tokens, padding and positions

    @classmethod
    def of(cls, values: Tensor, lengths: Tensor, starts: Tensor | None = None) -> Self:
        """Return right-padded sentences.

        Args:
            values: ids [B, S], floats [B, S], or vectors [B, S, F], 0 after the end of a sentence
            lengths: number of tokens of each sentence: [B]
            starts: 1 where a token begins a word, else 0: [B, S]; None: unknown
        """
        keep = torch.arange(values.size(1), device=values.device) < lengths[:, None]
        words = None if starts is None else starts.cumsum(1) - 1
        return cls(values, Layout.of(keep)._replace(words=words))

    def to(self, device: torch.device) -> "Column":
        """Return a copy on another device, without waiting for it."""
        return Column(*_to((self.values, self.layout), device))

    def shifted(self) -> Tensor:
        """Return the id before each token [B, S]; BOS before the first one of each example."""
        if self.layout.segments is None:
            return F.pad(self.values[:, :-1], (1, 0), value=BOS)
        return F.pad(self.values[:, :-1], (1, 0)).masked_fill(self.layout.positions == 0, BOS)

    def pinned(self) -> "Column":
        """Return a copy in pinned memory, from which a GPU copies asynchronously."""
        return Column(*_map((self.values, self.layout), Tensor.pin_memory))


class Memory(NamedTuple):
    """The output of an encoder for a decoder. S is 0 if there is no source."""

    states: Tensor  # [B, S, D] the encoder states
    inputs: Tensor  # [B, S, D] the embedded source
    layout: Layout  # of the source


class KeyValue(NamedTuple):
    """Projected keys and values of an attention; the second to last dimension is the sequence."""

    keys: Tensor  # multi-head: [B, H, S, K]
    values: Tensor  # multi-head: [B, H, S, K]
    layout: Layout  # of the keys
    queries: Tensor | None = None  # projections of the same tokens, if `Attention.project_self` computed them

    def extend(self, new: "KeyValue", layout: Layout | None = None) -> "KeyValue":
        """Return these keys and values with those of further tokens appended.

        Args:
            new: keys and values of the further tokens
            layout: the layout of all tokens, if the caller has it already
        """
        return KeyValue(
            torch.cat([self.keys, new.keys], -2),
            torch.cat([self.values, new.values], -2),
            self.layout.extend(new.layout) if layout is None else layout,
            new.queries,
        )


ALIGNMENT = 8
"""Fused kernels on GPUs copy a mask whose row stride is not a multiple of this number of elements."""


class MaskForms(NamedTuple):
    """The tensors that layers compute from a mask and two layouts; all layers of a stack share them."""

    queries: Layout
    keys: Layout
    allowed: Tensor | None  # `Mask.allowed` of the mask
    forms: dict[Any, Any]  # the tensors; the key is (name of the form, `causal`, `window`)


class Mask(NamedTuple):
    """A description of the keys that a query may attend to; padding and segments are in the layouts.

    An attention that cannot use the description calls `dense` or `additive`. A stack calls `share` once, so
    that its layers compute these tensors only once.
    """

    causal: bool = False  # true: a query may not attend to later positions
    window: int | None = None  # maximum distance between the positions of query and key; None: any
    allowed: Tensor | None = None  # [B or 1, T or 1, S] bool: false forbids a pair; None: forbids no pair
    shared: MaskForms | None = None  # see `share`
    by_index: bool = False  # true: queries and keys are the same tokens, in order, with padding on the right

    def share(self, queries: Layout, keys: Layout) -> "Mask":
        """Return a mask whose forms for these two layouts are computed once, at their first use."""
        return self._replace(shared=MaskForms(queries, keys, self.allowed, {}))

    def form(self, name: Any, queries: Layout, keys: Layout, build: Callable[[], T]) -> T:
        """Return `build()`, or its earlier result if the mask is shared for these layouts.

        Args:
            name: the name of the form; `build` may depend on it, on the mask and on the layouts only
            queries: layout of the queries
            keys: layout of the keys
            build: computes the form
        """
        shared = self.shared
        if shared is None or not _is_for(shared, self.allowed, queries, keys):
            return build()
        key = (name, self.causal, self.window)
        if key not in shared.forms:
            shared.forms[key] = build()
        return shared.forms[key]

    def additive(self, queries: Layout, keys: Layout, dtype: torch.dtype) -> Tensor:
        """Return a term [B, 1, T, S] for scores: 0 for visible keys, a large negative number for others.

        Minus infinity would make the softmax of a completely masked row NaN. The number is half of the
        smallest of its dtype, so that adding scores does not overflow.
        """

        def build() -> Tensor:
            visible = self._visible(queries, keys)
            length = visible.size(-1)
            if visible.device.type != "cpu" and length % ALIGNMENT:
                visible = F.pad(visible, (0, -length % ALIGNMENT))
            zero = visible.new_zeros((), dtype=dtype)
            term = torch.where(visible, zero, torch.finfo(dtype).min / 2)[..., :length]
            return term.expand(-1, -1, queries.keep.size(1), -1)

        return self.form(("additive", dtype), queries, keys, build)

    def dense(self, queries: Layout, keys: Layout) -> Tensor:
        """Return [B, 1, T, S] bool, true where a query may attend to a key.

        `causal` and `window` compare the positions of the layouts, not the indices of the tensors.
        """

        def build() -> Tensor:
            return self._visible(queries, keys).expand(-1, -1, queries.keep.size(1), -1)

        return self.form("dense", queries, keys, build)

    @property
    def is_triangular(self) -> bool:
        """True if query i attends to the keys 0 ... i. Segments of the layouts are not considered.

        Padding is on the right then, so tokens do not attend to it.
        """
        return self.causal and self.by_index and self.window is None and self.allowed is None

    def _visible(self, queries: Layout, keys: Layout) -> Tensor:
        """Return [B, 1, T or 1, S] bool; 1 if all queries may attend to the same keys."""
        visible = keys.keep[:, None, :]
        q, k = queries.positions[:, :, None], keys.positions[:, None, :]
        if self.causal:
            visible = visible & (k <= q)
        if self.window is not None:
            visible = visible & ((q - k).abs() <= self.window)
        if queries.segments is not None and keys.segments is not None:
            visible = visible & (queries.segments[:, :, None] == keys.segments[:, None, :])
        if self.allowed is not None:
            visible = visible & self.allowed
        return visible[:, None]


def _is_for(shared: MaskForms, allowed: Tensor | None, queries: Layout, keys: Layout) -> bool:
    """Return true if the forms were made for the same tensors."""
    return (
        shared.allowed is allowed
        and _has_same_tensors(shared.queries, queries)
        and _has_same_tensors(shared.keys, keys)
    )


def _has_same_tensors(one: Layout, other: Layout) -> bool:
    return one is other or all(a is b for a, b in zip(one, other, strict=True))


@dataclass(frozen=True)
class Batch:
    """The examples of a microbatch in padded tensors."""

    columns: Mapping[str, Column]  # "source", "target", and further columns of the task
    count: int  # number of target tokens, known without reading from a device

    @classmethod
    def of(cls, **columns: Column) -> Self:
        """Return the batch of these columns, among them `target`, whose tokens are counted."""
        return cls(columns, int(columns["target"].layout.keep.sum()))

    def to(self, device: torch.device) -> "Batch":
        """Return a copy on another device, without waiting for it."""
        return Batch({name: column.to(device) for name, column in self.columns.items()}, self.count)


def _to(state: State, device: torch.device) -> State:
    return _map(state, lambda tensor: to_device(tensor, device))


def rows(state: State, index: Tensor) -> State:
    """Return the state of some sentences of a batch.

    Args:
        state: any `State`
        index: [N] int64: the sentences in their new order; a sentence may occur several times
    """
    selected: dict[int, Tensor] = {}

    def select(tensor: Tensor) -> Tensor:
        # layers share tensors, such as layouts; they still share them afterwards
        if id(tensor) not in selected:
            selected[id(tensor)] = tensor.index_select(0, index)
        return selected[id(tensor)]

    def descend(part: State) -> State:
        own_select = None if isinstance(part, Tensor) else getattr(part, "select", None)
        return _map(part, select, descend) if own_select is None else own_select(index)

    return descend(state)


def fork(state: State, n: int) -> State:
    """Return a state in which each sentence is repeated in `n` adjacent rows, as for a beam of size n."""
    repeated: dict[int, Tensor] = {}

    def repeat(tensor: Tensor) -> Tensor:
        if id(tensor) not in repeated:
            repeated[id(tensor)] = tensor.repeat_interleave(n, 0)
        return repeated[id(tensor)]

    def descend(part: State) -> State:
        own_fork = getattr(part, "fork", None)
        return _map(part, repeat, descend) if own_fork is None else own_fork(n)

    return descend(state)


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


def word_states(states: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
    """Return the state of each word's first token, and the number of words of each sentence [B].

    If the layout does not say where words begin, each token is a word.

    Args:
        states: a state for each token [B, S, D]
        layout: tokens, and the words that they belong to

    Returns:
        the states [B, S + 1, D], 0 after the last word, and the numbers of words [B]; if rows hold several
        segments, the number of each segment [B, S]
    """
    count, length, width = states.shape
    words = layout.keep.long().cumsum(1) - 1 if layout.words is None else layout.words  # [B, S]
    words = words.clamp_min(0)
    begins = layout.keep & (words != F.pad(words, (1, 0), value=-1)[:, :-1])
    lengths = begins.sum(1)
    # Find the first token of each word without a loop: scatter token positions by word number.
    # Tokens that do not begin a word all go to the extra position at the end.
    target = torch.where(begins, words, length)
    positions = torch.arange(length, device=words.device).expand(count, -1)
    first = lengths.new_zeros(count, length + 1).scatter(1, target, positions)
    gathered = states.gather(1, first[..., None].expand(-1, -1, width))
    exists = torch.arange(length + 1, device=words.device) < lengths[:, None]
    if layout.segments is not None:  # there are at least as many tokens as segments
        lengths = torch.zeros_like(words).scatter_add_(1, layout.segments, begins.long())
    return gathered.masked_fill(~exists[..., None], 0), lengths


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
            f"{setting}: {len(value)} values for {layers} layers; set one value, or one for each layer"
        )
    return list(value)


class ScaledEmbedding(nn.Embedding):
    """The embeddings [V, D] of a vocabulary, times a constant (Vaswani et al. 2017, section 3.4).

    The matrix starts with normal values of mean 0. With the default `std` and `scaled`, the elements of an
    embedding start with variance 1.

    Args:
        symbols: size of the vocabulary, V
        d_model: width of an embedding, D
        scaled: multiply embeddings by sqrt(d_model), as the paper does
        std: standard deviation of the initial values; None: d_model^-0.5

    Raises:
        ValueError: the column has vectors, which have no vocabulary
    """

    def __init__(self, symbols: int, d_model: int, *, scaled: bool = True, std: float | None = None) -> None:
        if isinstance(symbols, Features):
            raise ValueError(  # noqa: TRY004  the reason is a setting of the recipe
                f"the source has vectors of {symbols} features, not token ids; choose a model with an input "
                "layer, and set it, as in source_input: projection"
            )
        super().__init__(symbols, d_model)
        nn.init.normal_(self.weight, std=std or d_model**-0.5)
        self.scale = math.sqrt(d_model) if scaled else 1.0

    def forward(self, ids: Tensor) -> Tensor:
        """Return the scaled embeddings [B, T, D] of `ids` [B, T]."""
        return super().forward(ids) * self.scale

    def embed(self, column: Column) -> tuple[Tensor, Layout]:
        """Return the scaled embeddings [B, T, D] of a column of ids, and its layout (see `InputLayer`)."""
        return self(column.values), column.layout

    def output_length(self, length: int) -> int:
        """Return the number of embeddings of `length` tokens, which is the same (see `InputLayer`)."""
        return length

    def logits(self, outputs: Tensor, bias: Tensor | None = None) -> Tensor:
        """Return the products [..., V] of outputs [..., D] with the unscaled embeddings, plus a bias [V].

        This is the output projection of a model with tied embeddings (Press and Wolf 2017).
        """
        return F.linear(outputs, self.weight, bias)

    def specification(self) -> EmbeddingSpec:
        """Return a description for exporters."""
        return EmbeddingSpec(weight=self.weight, scale=self.scale)


def smallest_limit(*limits: int | None) -> int | None:
    """Return the smallest of several length limits; None means no limit."""
    return min((limit for limit in limits if limit is not None), default=None)
