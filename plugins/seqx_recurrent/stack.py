"""Stacked recurrent layers.

Letters in shapes: B sentences, T tokens, I input features, D = d_model.
"""

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from seqx_recurrent.recurrence import Hidden, Recurrence

Hiddens = tuple[Hidden, ...]
"""The hidden state of each layer of a stack."""


class Stack(nn.Module):
    """Unidirectional recurrent layers, one on top of the other.

    Dropout applies to the input of each layer, never to its hidden state (Zaremba et al. 2014). Residual
    connections go around each layer but the first (Wu et al. 2016, section 3.1).
    """

    def __init__(self, layers: Sequence[Recurrence], *, residual: bool, dropout: float) -> None:
        super().__init__()
        # Not seqx.Layers, because training compiles those, which would unroll the kernels' loops over tokens.
        self.layers = nn.ModuleList(layers)
        self.residual = residual
        self.dropout = nn.Dropout(dropout)

    @property
    def _recurrences(self) -> Sequence[Recurrence]:
        return cast("Sequence[Recurrence]", self.layers)

    def start(self, x: Tensor) -> Hiddens:
        """Return hidden states of zeros for the sentences x [B, ...]."""
        return tuple(layer.start(x) for layer in self._recurrences)

    def forward(self, x: Tensor, hidden: Hiddens, keep: Tensor | None) -> tuple[Tensor, Hiddens]:
        """Map T tokens [B, T, I] to [B, T, D]; also return the hidden states after them.

        `keep` [B, T] is false on padding, which is on the right; None: no padding.
        """
        after = []
        for i, layer in enumerate(self._recurrences):
            y, new = layer(self.dropout(x), hidden[i], keep)
            x = x + y if self.residual and i else y
            after.append(new)
        return x, tuple(after)

    def weights(self) -> list[list[Tensor]]:
        """Return each layer's weights for all steps over a batch; all tokens share one dropout mask."""
        return [layer.weights() for layer in self._recurrences]

    def step(self, x: Tensor, hidden: Hiddens, weights: list[list[Tensor]]) -> tuple[Tensor, Hiddens]:
        """Map one token [B, I] to [B, D]; also return the hidden states after it."""
        after = []
        for i, layer in enumerate(self._recurrences):
            new = layer.step(self.dropout(x), hidden[i], weights[i])
            x = x + new[0] if self.residual and i else new[0]
            after.append(new)
        return x, tuple(after)
