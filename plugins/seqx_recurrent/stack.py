"""Recurrent layers on top of each other.

Letters in shapes: B sentences, T tokens, I the width of what enters, D = d_model.
"""

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from seqx_recurrent.recurrence import Hidden, Recurrence

Hiddens = tuple[Hidden, ...]
"""What each layer of a stack remembers."""


class Stack(nn.Module):
    """Layers that read in one direction.

    Dropout falls on what enters each layer, never on what it remembers (Zaremba et al. 2014). Residual
    connections go around each layer but the first (Wu et al. 2016, section 3.1).
    """

    def __init__(self, layers: Sequence[Recurrence], *, residual: bool, dropout: float) -> None:
        super().__init__()
        # No seqx.Layers: compiled, the kernels' loops over tokens would be unrolled anew for each length.
        self.layers = nn.ModuleList(layers)
        self.residual = residual
        self.dropout = nn.Dropout(dropout)

    @property
    def _recurrences(self) -> Sequence[Recurrence]:
        return cast("Sequence[Recurrence]", self.layers)

    def start(self, x: Tensor) -> Hiddens:
        """Nothing remembered, for sentences x [B, ...]."""
        return tuple(layer.start(x) for layer in self._recurrences)

    def forward(self, x: Tensor, hidden: Hiddens, keep: Tensor | None) -> tuple[Tensor, Hiddens]:
        """From [B, T, I] to [B, T, D], each layer all tokens at once, and what is remembered after them."""
        after = []
        for i, layer in enumerate(self._recurrences):
            y, new = layer(self.dropout(x), hidden[i], keep)
            x = x + y if self.residual and i else y
            after.append(new)
        return x, tuple(after)

    def weights(self) -> list[list[Tensor]]:
        """What the steps through a batch share: the same recurrent weights are dropped at all tokens."""
        return [layer.weights() for layer in self._recurrences]

    def step(self, x: Tensor, hidden: Hiddens, weights: list[list[Tensor]]) -> tuple[Tensor, Hiddens]:
        """From one token [B, I] to [B, D], and what is remembered after it."""
        after = []
        for i, layer in enumerate(self._recurrences):
            new = layer.step(self.dropout(x), hidden[i], weights[i])
            x = x + new[0] if self.residual and i else new[0]
            after.append(new)
        return x, tuple(after)
