"""The slots of the Transformer's decoder, whose caches are written in place and do not move.

Letters in shapes: A occupied slots, K hypotheses of each slot, N = A * K, R rows of the caches (one for each
occupied slot and for some released ones), C columns of the caches, S source tokens, D = d_model, H heads, W
the width of a head.
"""

import math
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

import seqx
from seqx_transformer.layers import DecoderShared, Past

MAX_UNUSED = 1 / 8
"""The share of rows that released slots may occupy. Above it, the caches are copied without these rows."""

FIRST_STEPS = 32
"""The number of steps for which a new cache has room. The room doubles whenever it is full."""

MIN_COLUMNS, GROWTH = 64, 3 / 2
"""The number of columns at which unseen ones are first dropped, and the growth until the next time."""

MAX_SEEN = 3 / 4
"""The share of seen columns above which none are dropped, because copying takes longer than it saves."""

KeyValues = tuple[seqx.KeyValue, ...]
"""Keys and values for the attention of each layer."""


class TransformerState(NamedTuple):
    """The state of the decoder between tokens: the keys and values of each layer."""

    # [B] number of target tokens so far
    lengths: Tensor
    # of these tokens; None before the first token
    layout: seqx.Layout | None
    # keys and values of the target so far, for the self-attention of each layer; None before the first token
    past: KeyValues | None
    # keys and values of the source, for the cross-attention of each layer; None without a source
    source: KeyValues | None


class Cache:
    """The keys and values of one layer's self-attention, for the tokens of all hypotheses.

    Each step writes K columns, one for each hypothesis. There is room for more columns than are written, but
    not for more than `steps` steps need, unless sentences are added later.

    Args:
        past: keys and values of earlier tokens [R, H, C, W]; None: there are none
        steps: maximum number of steps; None: unknown
    """

    def __init__(self, past: seqx.KeyValue | None, steps: int | None) -> None:
        self._tensors = [] if past is None else [past.keys, past.values]
        self._columns = 0 if past is None else past.keys.size(-2)  # that are written
        self._steps = steps

    def extend(self, new: seqx.KeyValue, layout: seqx.Layout) -> seqx.KeyValue:
        """Write keys and values [R, H, K, W] to the next columns; return those of all columns.

        Args:
            new: the keys and values of the new tokens
            layout: the layout of all columns
        """
        columns = self._next_columns(new, len(new.keys))
        for tensor, part in zip(columns, (new.keys, new.values), strict=True):
            tensor.copy_(part)
        keys, values = (tensor[..., : self._columns, :] for tensor in self._tensors)
        return new._replace(keys=keys, values=values, layout=layout)

    def extend_rows(self, rows: Tensor, new: seqx.KeyValue, count: int) -> None:
        """Write keys and values of some of `count` rows to the next columns, and zeros of the other rows."""
        for tensor, part in zip(self._next_columns(new, count), (new.keys, new.values), strict=True):
            tensor.zero_().index_copy_(0, rows, part)

    def select(self, rows: Tensor) -> None:
        """Keep only some rows."""
        self._tensors = [tensor.index_select(0, rows) for tensor in self._tensors]

    def select_columns(self, columns: Tensor) -> None:
        """Move some columns of each row [R, C] to the front; drop the others."""
        count = columns.size(1)
        for tensor in self._tensors:
            vectors = tensor.flatten(0, 2)  # [R H C, W]
            first = torch.arange(0, len(vectors), tensor.size(2), device=columns.device)
            index = first.view(len(tensor), -1, 1) + columns[:, None]  # [R, H, C]
            kept = vectors.index_select(0, index.flatten())
            tensor[..., :count, :] = kept.view(*index.shape, -1)
        self._columns = count

    def drop_columns(self, count: int) -> None:
        """Drop the first columns."""
        self._tensors = [tensor[..., count:, :] for tensor in self._tensors]
        self._columns -= count

    def _next_columns(self, new: seqx.KeyValue, rows: int) -> list[Tensor]:
        """Return the next columns of keys and values, as many as `new` has; they must then be written."""
        start, count = self._columns, new.keys.size(-2)
        self._columns += count
        if not self._tensors:
            parts = (new.keys, new.values)
            self._tensors = [x.new_empty(rows, *x.shape[1:-2], 0, x.size(-1)) for x in parts]
        if self._columns > self._tensors[0].size(-2):
            room = max(FIRST_STEPS * count, 2 * self._columns)
            if self._steps is not None and self._columns <= self._steps * count:
                room = min(room, self._steps * count)
            self._tensors = [_with_room(tensor, start, room) for tensor in self._tensors]
        return [tensor[..., start : self._columns, :] for tensor in self._tensors]


def _with_room(tensor: Tensor, columns: int, room: int) -> Tensor:
    """Return a copy with the first columns of a tensor, and undefined values in the others."""
    copy = tensor.new_empty(*tensor.shape[:-2], room, tensor.size(-1))
    copy[..., :columns, :] = tensor[..., :columns, :]
    return copy


class CachingDecoder(Protocol):
    """The method of a decoder that `TransformerSlots` calls."""

    def decode(
        self,
        x: Tensor,
        layout: seqx.Layout,
        past: Sequence[Past],
        source: KeyValues | None,
        shared: DecoderShared,
    ) -> tuple[Tensor, KeyValues]:
        """Map embeddings [R, K, D] to outputs [R, K, D]; extend the past keys and values of each layer."""
        ...


class TransformerSlots(seqx.Slots):
    """Slots in which the hypotheses of a sentence are queries that share one cache.

    A matrix says which columns of the cache each hypothesis sees: those of its own tokens and of the tokens
    that it continues. `reorder` selects rows of this matrix and moves no keys and values. The keys and values
    of the source are stored once per sentence. `step` maps embeddings [N, D] to outputs [N, D], and `fill`
    takes a state of the decoder.

    Args:
        decoder: the decoder
        layers: number of its layers
        state: its state, with one sentence for each slot
        hypotheses: number of hypotheses of each slot, K
        capacity: maximum number of tokens that will be written in a slot, if it is known
    """

    def __init__(
        self,
        decoder: CachingDecoder,
        layers: int,
        state: TransformerState,
        *,
        hypotheses: int,
        capacity: int | None,
    ) -> None:
        count = len(state.lengths)
        self.hypotheses = hypotheses
        self.occupied = [*range(count)]
        self._decoder = decoder
        past = [None] * layers if state.past is None else state.past
        self._caches = [Cache(part, capacity) for part in past]
        self._source = None if state.source is None else tuple(map(contiguous, state.source))
        self._row_slots: list[int | None] = [*range(count)]  # the slot of each row; None: it was released
        self._rows: Tensor | None = None  # [A] the rows of the occupied slots; None: all, in their order
        self._first_columns = dict.fromkeys(self.occupied, 0)  # the first column of each slot
        self._lengths = state.lengths.clone()  # [R] tokens written so far
        self._positions = state.lengths.new_zeros(count, 0)  # [R, C] of the token of each column
        self._visible = torch.zeros_like(self._positions, dtype=torch.bool)[:, None].expand(
            -1, hypotheses, -1
        )
        if state.layout is not None:
            self._positions = state.layout.positions
            self._visible = state.layout.keep[:, None].expand(-1, hypotheses, -1)  # [R, K, C]
        self._next_drop = self._columns_of_next_drop()
        self._own = torch.eye(hypotheses, dtype=torch.bool, device=state.lengths.device)
        self._share_layouts()

    def step(self, embeddings: Tensor) -> Tensor:
        """Advance each hypothesis by one embedding of [N, D]; return its output [N, D]."""
        if self._row_slots.count(None) > MAX_UNUSED * len(self._row_slots):
            self._select_rows([*self.occupied])
        if self._positions.size(1) >= self._next_drop:
            self._drop_unseen_columns()
        x = self._scatter(embeddings.view(-1, self.hypotheses, embeddings.size(-1)))
        layout = self._layout
        self._add_columns(layout.positions, self._own.expand(len(x), -1, -1))
        keys = seqx.Layout(self._own[:1, :1].expand(self._positions.shape), self._positions)
        mask = seqx.Mask(allowed=self._visible).share(layout, keys)
        shared = DecoderShared(keys, mask, self._source_mask)
        outputs, _ = self._decoder.decode(x, layout, self._caches, self._source, shared)
        self._lengths += 1
        return self._gather(outputs).flatten(0, 1)

    def reorder(self, parents: Tensor) -> None:
        """Replace each hypothesis by a hypothesis of the same slot: [A, K]."""
        if self.hypotheses > 1:
            index = self._scatter(parents)[..., None].expand_as(self._visible)
            self._visible = self._visible.gather(1, index)

    def release(self, slots: Collection[int]) -> None:
        """Remove the sentences in these slots; the other slots keep their numbers."""
        self.occupied = [slot for slot in self.occupied if slot not in slots]
        self._set_rows([None if slot in slots else slot for slot in self._row_slots])

    def fill(self, slots: Sequence[int], memory: seqx.State) -> None:
        """Put further sentences into released slots; `memory` is the state of the decoder for these."""
        state: TransformerState = memory
        missing = len(slots) - self._row_slots.count(None)
        if missing > 0:
            self._select_rows([*self._row_slots, *([None] * missing)])
        row_slots = list(self._row_slots)
        free = [row for row, slot in enumerate(row_slots) if slot is None][: len(slots)]
        rows = self._index(free)
        self._visible = self._visible.index_fill(0, rows, value=False)
        self._lengths = self._lengths.index_copy(0, rows, state.lengths)
        for row, slot in zip(free, slots, strict=True):
            row_slots[row] = slot
            self._first_columns[slot] = self._positions.size(1)
        if self._source is not None and state.source is not None:
            self._source = replace_rows(self._source, rows, state.source)
        if state.past is not None and state.layout is not None:
            self._fill_columns(rows, state.layout, state.past)
        self.occupied = sorted([*self.occupied, *slots])
        self._set_rows(row_slots)
        self._share_layouts()
        self._drop_unused_columns()

    def _fill_columns(self, rows: Tensor, layout: seqx.Layout, past: KeyValues) -> None:
        """Write earlier tokens of some rows to new columns."""
        count = len(self._row_slots)
        positions = layout.positions.new_zeros(count, layout.positions.size(1))
        visible = torch.zeros_like(positions, dtype=torch.bool).index_copy(0, rows, layout.keep)
        self._add_columns(
            positions.index_copy(0, rows, layout.positions), visible[:, None].expand(-1, self.hypotheses, -1)
        )
        for cache, new in zip(self._caches, past, strict=True):
            cache.extend_rows(rows, new, count)

    def _add_columns(self, positions: Tensor, visible: Tensor) -> None:
        """Add columns at positions [R, C], of which each hypothesis sees some: [R, K, C]."""
        self._positions = torch.cat([self._positions, positions], 1)
        self._visible = torch.cat([self._visible, visible], 2)

    def _drop_unseen_columns(self) -> None:
        """Drop columns that no hypothesis sees; each row keeps as many as the row that sees the most."""
        seen = self._visible.any(1)  # [R, C]
        count = int(self._gather(seen).sum(1).max())
        if count <= MAX_SEEN * seen.size(1):
            columns = seen.byte().argsort(dim=1, descending=True, stable=True)[:, :count]
            self._positions = self._positions.gather(1, columns)
            self._visible = self._visible.gather(2, columns[:, None].expand(-1, self.hypotheses, -1))
            for cache in self._caches:
                cache.select_columns(columns)
            self._first_columns = dict.fromkeys(self._first_columns, 0)
        self._next_drop = self._columns_of_next_drop()

    def _columns_of_next_drop(self) -> float:
        """Return the number of columns from which the next step drops those that no hypothesis sees.

        None are dropped if a slot has one hypothesis, which sees all its columns, or on a GPU, where the host
        would have to wait for the number of seen columns.
        """
        if self.hypotheses == 1 or self._positions.is_cuda:
            return math.inf
        return max(MIN_COLUMNS, GROWTH * self._positions.size(1))

    def _drop_unused_columns(self) -> None:
        """Drop the columns before the first one of all occupied slots."""
        first = min(self._first_columns[slot] for slot in self.occupied)
        if first == 0:
            return
        self._positions, self._visible = self._positions[:, first:], self._visible[..., first:]
        for cache in self._caches:
            cache.drop_columns(first)
        self._first_columns = {slot: self._first_columns[slot] - first for slot in self.occupied}

    def _share_layouts(self) -> None:
        """Build the layout of the queries and the mask of the source for the current rows.

        All steps share them, so the forms of this mask are computed once. Positions follow `_lengths`, which
        is changed in place.
        """
        shape = len(self._row_slots), self.hypotheses
        self._layout = seqx.Layout(self._own[:1, :1].expand(shape), self._lengths[:, None].expand(shape))
        self._source_mask = seqx.Mask()
        if self._source:
            self._source_mask = self._source_mask.share(self._layout, self._source[0].layout)

    def _scatter(self, x: Tensor) -> Tensor:
        """Return a tensor of all rows [R, ...], from that of the occupied slots [A, ...]."""
        if self._rows is None:
            return x
        return x.new_zeros(len(self._row_slots), *x.shape[1:]).index_copy_(0, self._rows, x)

    def _gather(self, x: Tensor) -> Tensor:
        """Return a tensor of the occupied slots [A, ...], from that of all rows [R, ...]."""
        return x if self._rows is None else x.index_select(0, self._rows)

    def _set_rows(self, row_slots: list[int | None]) -> None:
        """Set the slot of each row."""
        self._row_slots = row_slots
        row_of = {slot: row for row, slot in enumerate(row_slots)}
        rows = [row_of[slot] for slot in self.occupied]
        self._rows = None if rows == [*range(len(row_slots))] else self._index(rows)

    def _select_rows(self, row_slots: list[int | None]) -> None:
        """Copy all tensors to other rows; rows without a slot get arbitrary values."""
        row_of = {slot: row for row, slot in enumerate(self._row_slots)}
        index = self._index([0 if slot is None else row_of[slot] for slot in row_slots])
        state = (self._lengths, self._positions, self._visible, self._source)
        self._lengths, self._positions, self._visible, self._source = seqx.rows(state, index)
        for cache in self._caches:
            cache.select(index)
        self._set_rows(row_slots)
        self._share_layouts()

    def _index(self, rows: list[int]) -> Tensor:
        return seqx.to_device(torch.tensor(rows, dtype=torch.int64), self._lengths.device)


def contiguous(source: seqx.KeyValue) -> seqx.KeyValue:
    """Return the same keys and values in the memory layouts that products of few queries read fastest."""
    return source._replace(keys=source.keys.mT.contiguous().mT, values=source.values.contiguous())


def replace_rows(old: KeyValues, rows: Tensor, new: KeyValues) -> KeyValues:
    """Return the keys and values of the source with some rows replaced, padded to the longest source."""
    length = max(old[0].layout.keep.size(1), new[0].layout.keep.size(1))

    def replaced(before: Tensor | None, after: Tensor | None, dim: int) -> Any:
        if before is None or after is None:
            return None
        one, other = (F.pad(x, [0, 0] * (-1 - dim) + [0, length - x.size(dim)]) for x in (before, after))
        return one.index_copy(0, rows, other)

    layout = seqx.Layout(*(replaced(a, b, -1) for a, b in zip(old[0].layout, new[0].layout, strict=True)))
    return tuple(
        seqx.KeyValue(replaced(a.keys, b.keys, -2), replaced(a.values, b.values, -2), layout)
        for a, b in zip(old, new, strict=True)
    )
