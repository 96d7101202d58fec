"""The input of a convolutional stack.

Letters in shapes: B sentences, T tokens, D = d_model.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

import seqx


class EmbeddingInput(nn.Module):
    """Embeddings plus positions, with dropout (Gehring et al. 2017, sections 3.1 and 4.2).

    Args:
        make: builds the positional encoding; None: no positions
        d_model: width of the embeddings
        dropout: dropout probability

    Raises:
        ValueError: the encoding acts in attention, so a convolutional stack would ignore it
    """

    def __init__(
        self, make: Callable[..., seqx.PositionalEncoding] | None, d_model: int, *, dropout: float
    ) -> None:
        super().__init__()
        self.positions = None if make is None else make(d_model, 1)
        if self.positions is not None and self.positions.acts_in_attention:
            raise ValueError(
                "positions: this encoding acts in attention, at least in part, but "
                "convolutional layers only use positions that are added to embeddings; set such positions, "
                "or null for none"
            )
        self.dropout = nn.Dropout(dropout)

    @property
    def limit(self) -> int | None:
        """The largest number of positions that can be encoded; None: no limit."""
        return None if self.positions is None else self.positions.limit

    def forward(self, x: Tensor, layout: seqx.Layout) -> Tensor:
        """Return the input [B, T, D] of the first layer for embeddings [B, T, D].

        Under autocast it has the dtype of autocast, and so have the residual sums of all layers.
        """
        if self.positions is not None:
            x = self.positions.embed(x, layout.positions)
        device = x.device.type
        if torch.is_autocast_enabled(device):
            x = x.to(torch.get_autocast_dtype(device))
        return self.dropout(x)
