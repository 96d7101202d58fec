"""What the laws of networks try components on.

Letters in shapes: B sentences, S source tokens, T target tokens, D = d_model.
"""

import torch
from torch import Tensor

from seqx.interfaces.values import EOS, Layout, Memory, Tokens

B, S, T, D = 4, 7, 6, 16
SIZE = 12  # symbols of a vocabulary
SOURCE_LENGTHS = torch.tensor([7, 5, 2, 1])
TARGET_LENGTHS = torch.tensor([6, 3, 5, 1])


def kept(lengths: Tensor, places: int) -> Tensor:
    """Which places of right-padded sentences hold tokens, [B, places] bool."""
    return torch.arange(places) < lengths[:, None]


def layout(lengths: Tensor, places: int) -> Layout:
    """The layout of right-padded sentences."""
    return Layout.of(kept(lengths, places))


def vectors(*shape: int, seed: int = 1) -> Tensor:
    """Numbers that are always the same."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def memory(padding: float | None = None) -> Memory:
    """What an encoder left of B sentences; on padding stands `padding` where it is given."""
    places = layout(SOURCE_LENGTHS, S)
    states, inputs = vectors(B, S, D, seed=2), vectors(B, S, D, seed=3)
    if padding is not None:
        states, inputs = (x.masked_fill(~places.keep[..., None], padding) for x in (states, inputs))
    return Memory(states, inputs, places)


def sentences(lengths: Tensor, places: int, seed: int) -> Tokens:
    """Random sentences that end with EOS, right-padded."""
    ids = torch.randint(4, SIZE, (len(lengths), places), generator=torch.Generator().manual_seed(seed))
    ids[torch.arange(len(lengths)), lengths - 1] = EOS
    return Tokens.of(ids.masked_fill(~kept(lengths, places), 0), lengths)


MEMORY = memory()
SIZES = {"source": SIZE, "target": SIZE}
SOURCE = sentences(SOURCE_LENGTHS, S, seed=4)
TARGET = sentences(TARGET_LENGTHS, T, seed=5)
