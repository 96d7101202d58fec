"""Slots of the Transformer's decoder whose tensors keep their shapes, so that a GPU can replay a step.

Letters in shapes: A occupied slots, K hypotheses of each slot, R rows, one for each slot, N = A * K, C
columns of the caches, D = d_model, H heads, W the width of a head.
"""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

import seqx
from seqx_transformer.layers import DecoderShared
from seqx_transformer.replay import Replayed
from seqx_transformer.slots import CachingDecoder, KeyValues, TransformerState, contiguous, replace_rows

MAX_COLUMNS = 1024
"""The largest number of columns of `StaticSlots`. Each step attends to all, half of them empty on average."""


class StaticCache:
    """The keys and values of one layer's self-attention, for C columns.

    Args:
        columns: number of columns, C
        next_columns: the columns [K] that the next step writes; changed in place
    """

    def __init__(self, columns: int, next_columns: Tensor) -> None:
        self._columns = columns
        self._next_columns = next_columns
        self._tensors: list[Tensor] = []

    def extend(self, new: seqx.KeyValue, layout: seqx.Layout) -> seqx.KeyValue:
        """Write keys and values [R, H, K, W] to the next columns; return those of all columns."""
        parts = (new.keys, new.values)
        if not self._tensors:
            self._tensors = [x.new_zeros(*x.shape[:-2], self._columns, x.size(-1)) for x in parts]
        for tensor, part in zip(self._tensors, parts, strict=True):
            tensor.index_copy_(-2, self._next_columns, part)
        keys, values = self._tensors
        return new._replace(keys=keys, values=values, layout=layout)


class StaticSlots(seqx.Slots):
    """Slots as `TransformerSlots`, but all tensors of a step have the same shapes and addresses in each step.

    The caches have a column for each hypothesis and each of `capacity` steps. Later steps overwrite the first
    columns, whose sentences have ended by then. Released slots are computed until they are filled again.
    `step` maps embeddings [N, D] to outputs [N, D], and `fill` takes a state of the decoder.

    Args:
        decoder: the decoder
        layers: number of its layers
        state: its state before the first token, with one sentence for each slot
        source: the keys and values of the source in this state
        hypotheses: number of hypotheses of each slot, K
        capacity: maximum number of tokens that will be written in a slot
    """

    def __init__(
        self,
        decoder: CachingDecoder,
        layers: int,
        state: TransformerState,
        source: KeyValues,
        *,
        hypotheses: int,
        capacity: int,
    ) -> None:
        count, columns, lengths = len(state.lengths), hypotheses * capacity, state.lengths
        self.hypotheses = hypotheses
        self.occupied = [*range(count)]
        self._decoder = decoder
        self._capacity = capacity
        self._lengths = lengths.clone()  # [R] tokens written so far
        self._next_columns = torch.arange(hypotheses, device=lengths.device)
        self._positions = lengths.new_zeros(count, columns)  # [R, C] of the token of each column
        self._visible = lengths.new_zeros(count, hypotheses, columns, dtype=torch.bool)
        self._own = torch.eye(hypotheses, dtype=torch.bool, device=lengths.device)
        self._caches = [StaticCache(columns, self._next_columns) for _ in range(layers)]
        self._rows = torch.arange(count, device=lengths.device)  # [A] of the occupied slots
        self._inputs: Tensor | None = None  # [R, K, D] of a step
        # Views of the tensors above, which are changed in place.
        self._layout = self._layout_at(self._lengths[:, None].expand(-1, hypotheses))
        self._keys = self._layout_at(self._positions)
        self._set_source(source)

    def step(self, embeddings: Tensor) -> Tensor:
        """Advance each hypothesis by one embedding of [N, D]; return its output [N, D]."""
        x = embeddings.view(-1, self.hypotheses, embeddings.size(-1))
        if self._inputs is None:
            self._inputs = x.new_zeros(len(self._lengths), *x.shape[1:])
        self._inputs.index_copy_(0, self._rows, x)
        return self._replayed(self._compute).index_select(0, self._rows).flatten(0, 1)

    def reorder(self, parents: Tensor) -> None:
        """Replace each hypothesis by a hypothesis of the same slot: [A, K]."""
        if self.hypotheses > 1:
            index = parents.new_zeros(len(self._lengths), self.hypotheses).index_copy_(0, self._rows, parents)
            self._visible.copy_(self._visible.gather(1, index[..., None].expand_as(self._visible)))

    def release(self, slots: Collection[int]) -> None:
        """Remove the sentences in these slots; the other slots keep their numbers."""
        self.occupied = [slot for slot in self.occupied if slot not in slots]
        self._rows = self._index(self.occupied)

    def fill(self, slots: Sequence[int], memory: seqx.State) -> None:
        """Put further sentences into released slots; `memory` is the state of the decoder for these."""
        state: TransformerState = memory
        assert state.source is not None, "the decoder has a source"
        rows = self._index(slots)
        self._visible.index_fill_(0, rows, value=False)
        self._lengths.index_copy_(0, rows, state.lengths)
        self._set_source(replace_rows(self._source, rows, state.source))
        self.occupied = sorted([*self.occupied, *slots])
        self._rows = self._index(self.occupied)

    def _set_source(self, source: KeyValues) -> None:
        """Set the keys and values of the source; a step that was captured with others cannot be replayed."""
        self._source = tuple(map(contiguous, source))
        self._source_mask = seqx.Mask().share(self._layout, self._source[0].layout)
        self._replayed = Replayed(self._decoder, self._lengths.device)

    def _compute(self) -> Tensor:
        """Advance all rows by the embeddings in `_inputs`; return the outputs [R, K, D]."""
        assert self._inputs is not None, "`step` has set them"
        self._positions.index_copy_(1, self._next_columns, self._layout.positions)
        own = self._own.expand(len(self._lengths), -1, -1)
        self._visible.index_copy_(2, self._next_columns, own)
        mask = seqx.Mask(allowed=self._visible).share(self._layout, self._keys)
        shared = DecoderShared(self._keys, mask, self._source_mask)
        outputs, _ = self._decoder.decode(self._inputs, self._layout, self._caches, self._source, shared)
        self._next_columns.add_(self.hypotheses).remainder_(self._visible.size(2))
        # Released slots continue, and must not exceed the limit of the positional encoding.
        self._lengths.add_(1).clamp_(max=self._capacity - 1)
        return outputs

    def _layout_at(self, positions: Tensor) -> seqx.Layout:
        """Return the layout of tokens at these positions, without padding."""
        return seqx.Layout(self._own[:1, :1].expand(positions.shape), positions)

    def _index(self, rows: Sequence[int]) -> Tensor:
        return seqx.to_device(torch.tensor(rows, dtype=torch.int64), self._lengths.device)
