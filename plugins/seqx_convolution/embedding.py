"""Word embeddings as a stack takes them in.

Letters in shapes: B sentences, T tokens, D = d_model.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

import seqx


class Embedded(nn.Module):
    """Tells word embeddings their positions, where there is an encoding, and drops some (section 3.1).

    Args:
        make: builds the encoding
        d_model: width of the embeddings
        dropout: share dropped in training

    Raises:
        ValueError: for an encoding that acts inside attention, where this would change nothing
    """

    def __init__(
        self, make: Callable[..., seqx.PositionalEncoding] | None, d_model: int, *, dropout: float
    ) -> None:
        super().__init__()
        self.positions = None if make is None else make(d_model, 1)
        if self.positions is not None and self.positions.acts_in_attention:
            raise ValueError(
                f"{type(self.positions).__name__} positions act inside attention, at least in part, and "
                "convolutions have none; name others, or null for none"
            )
        self.dropout = nn.Dropout(dropout)

    @property
    def limit(self) -> int | None:
        """The number of positions that can be encoded, when there is one."""
        return None if self.positions is None else self.positions.limit

    def forward(self, x: Tensor, layout: seqx.Layout) -> Tensor:
        """From [B, T, D] to [B, T, D]; under autocast of its type, so that sums with it are, too."""
        if self.positions is not None:
            x = self.positions.embed(x, layout.positions)
        device = x.device.type
        if torch.is_autocast_enabled(device):
            x = x.to(torch.get_autocast_dtype(device))
        return self.dropout(x)
