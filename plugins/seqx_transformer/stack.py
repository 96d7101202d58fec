"""What the layers of a stack share: how many there are of which kind, and how they are told about order."""

from collections.abc import Callable, Sequence
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

import seqx

T = TypeVar("T")


class Positions(nn.Module):
    """A stack's positional encoding, shared by its layers.

    Attentions with other numbers of heads have encodings of their own; the first layer's embeds.
    """

    def __init__(
        self,
        make: Callable[..., seqx.PositionalEncoding],
        d_model: int,
        attentions: Sequence[seqx.Attention],
    ) -> None:
        super().__init__()
        heads = dict.fromkeys(attention.heads for attention in attentions)
        self.encodings = nn.ModuleDict({str(h): make(d_model, h) for h in heads})
        self._first = str(next(iter(heads)))
        for attention in attentions:
            attention.check(self.of(attention.heads))

    @property
    def limit(self) -> int | None:
        """The number of positions that can be encoded, when there is one."""
        return self.of(int(self._first)).limit

    def of(self, heads: int) -> seqx.PositionalEncoding:
        """The encoding for an attention that has so many heads."""
        return cast("seqx.PositionalEncoding", self.encodings[str(heads)])

    def embed(self, x: Tensor, layout: seqx.Layout) -> Tensor:
        """Word embeddings [B, T, D] that know their positions, where the encoding works that way.

        Under autocast they have its type, and with them all residual sums of the stack: otherwise each linear
        map would convert its input again.
        """
        x = self.of(int(self._first)).embed(x, layout.positions)
        device = x.device.type
        return x.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else x
