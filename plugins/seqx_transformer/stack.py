"""What the layers of a stack share: how many there are of which kind, and how they are told about order."""

from collections.abc import Callable, Sequence
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

import seqx

T = TypeVar("T")


class Positions(nn.Module):
    """A stack's positional encoding, shared by its layers.

    Where attention hears of order, other numbers of heads have encodings of their own; the first's embeds.

    Raises:
        ValueError: when an attention cannot do with the positions, or attentions with other numbers of heads
            would have to share what only the first can learn
    """

    def __init__(
        self,
        make: Callable[..., seqx.PositionalEncoding],
        d_model: int,
        attentions: Sequence[seqx.Attention],
    ) -> None:
        super().__init__()
        first, *others = dict.fromkeys(attention.heads for attention in attentions)
        encoding = make(d_model, first)
        self.encodings = nn.ModuleDict({str(first): encoding})
        self._first = str(first)
        for heads in others if encoding.acts_in_attention else ():
            self.encodings[str(heads)] = make(d_model, heads)
            if _learns_to_embed(self.of(heads)):
                raise ValueError(
                    "positions: what is learnt for embeddings and heard in attention as well needs as many "
                    f"heads in all layers, not {first} and {heads}"
                )
        for attention in attentions:
            attention.check(self.of(attention.heads))

    @property
    def limit(self) -> int | None:
        """The number of positions that can be encoded, when there is one."""
        return self._embedding.limit

    @property
    def _embedding(self) -> seqx.PositionalEncoding:
        return cast("seqx.PositionalEncoding", self.encodings[self._first])

    def of(self, heads: int) -> seqx.PositionalEncoding:
        """The encoding for an attention that has so many heads."""
        if str(heads) not in self.encodings:
            return self._embedding
        return cast("seqx.PositionalEncoding", self.encodings[str(heads)])

    def embed(self, x: Tensor, layout: seqx.Layout) -> Tensor:
        """Word embeddings [B, T, D] that know their positions, where the encoding works that way.

        Under autocast they have its type, and with them all residual sums of the stack: otherwise each linear
        map would convert its input again.
        """
        x = self._embedding.embed(x, layout.positions)
        device = x.device.type
        return x.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else x


@torch.enable_grad()
def _learns_to_embed(encoding: seqx.PositionalEncoding) -> bool:
    """Whether what it does to embeddings is learnt."""
    places = torch.zeros(1, 1, dtype=torch.int64)
    return encoding.embed(torch.zeros(1, 1, encoding.d_model), places).requires_grad
