"""Random inputs for the laws of networks.

Letters in shapes: B sentences, S source tokens, T target tokens, D = d_model.
"""

import torch
from torch import Tensor

from seqx.interfaces.tensors import EOS, Column, Layout, Memory

B, S, T, D = 4, 7, 6, 16
SIZE = 12  # symbols in each vocabulary
SOURCE_LENGTHS = torch.tensor([7, 5, 2, 1])
TARGET_LENGTHS = torch.tensor([6, 3, 5, 1])


def token_mask(lengths: Tensor, width: int) -> Tensor:
    """Return a mask [B, width] that is true on the tokens of right-padded sentences, false on padding."""
    return torch.arange(width) < lengths[:, None]


def layout(lengths: Tensor, width: int) -> Layout:
    """Return the layout of right-padded sentences, padded to `width` positions."""
    return Layout.of(token_mask(lengths, width))


def packed_layout(lengths: Tensor) -> Layout:
    """Return the layout of one row that holds all sentences, as its segments."""
    positions = torch.cat([torch.arange(int(length)) for length in lengths])[None]
    segments = torch.arange(len(lengths)).repeat_interleave(lengths)[None]
    return Layout(torch.ones_like(positions, dtype=torch.bool), positions, segments)


def packed(x: Tensor, lengths: Tensor) -> Tensor:
    """Return the tokens of right-padded sentences [B, S, ...] in one row [1, N, ...]."""
    return x[token_mask(lengths, x.size(1))][None]


def vectors(*shape: int, seed: int = 1) -> Tensor:
    """Return normally distributed numbers that depend only on the shape and the seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def memory(padding: float | None = None) -> Memory:
    """Return the memory of B sentences, with the value `padding` on padding; None: random values."""
    source_layout = layout(SOURCE_LENGTHS, S)
    states, inputs = vectors(B, S, D, seed=2), vectors(B, S, D, seed=3)
    if padding is not None:
        states, inputs = (x.masked_fill(~source_layout.keep[..., None], padding) for x in (states, inputs))
    return Memory(states, inputs, source_layout)


def sentences(lengths: Tensor, width: int, seed: int) -> Column:
    """Return random sentences that end with EOS, right-padded to `width` positions."""
    ids = torch.randint(4, SIZE, (len(lengths), width), generator=torch.Generator().manual_seed(seed))
    ids[torch.arange(len(lengths)), lengths - 1] = EOS
    return Column.of(ids.masked_fill(~token_mask(lengths, width), 0), lengths)


MEMORY = memory()
SIZES = {"source": SIZE, "target": SIZE}
SOURCE = sentences(SOURCE_LENGTHS, S, seed=4)
TARGET = sentences(TARGET_LENGTHS, T, seed=5)
