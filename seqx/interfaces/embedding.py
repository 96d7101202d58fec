"""Parts that models share: the embedding of a vocabulary, and the limit of several parts on the length.

Letters in shapes: B sentences, T tokens, D = d_model, V symbols of a vocabulary.
"""

import math

import torch.nn.functional as F
from torch import Tensor, nn


class ScaledEmbedding(nn.Embedding):
    """The embeddings [V, D] of a vocabulary, times a constant (Vaswani et al. 2017, section 3.4).

    The matrix starts with normal values of mean 0. With the default `std` and `scaled`, the elements of an
    embedding start with variance 1.

    Args:
        symbols: size of the vocabulary, V
        d_model: width of an embedding, D
        scaled: multiply embeddings by sqrt(d_model), as the paper does
        std: standard deviation of the initial values; None: d_model^-0.5
    """

    def __init__(self, symbols: int, d_model: int, *, scaled: bool = True, std: float | None = None) -> None:
        super().__init__(symbols, d_model)
        nn.init.normal_(self.weight, std=std or d_model**-0.5)
        self.scale = math.sqrt(d_model) if scaled else 1.0

    def forward(self, ids: Tensor) -> Tensor:
        """Return the scaled embeddings [B, T, D] of `ids` [B, T]."""
        return super().forward(ids) * self.scale

    def logits(self, outputs: Tensor) -> Tensor:
        """Return the products [..., V] of outputs [..., D] with the unscaled embedding of each symbol.

        This is the output projection of a model with tied embeddings (Press and Wolf 2017).
        """
        return F.linear(outputs, self.weight)


def smallest_limit(*limits: int | None) -> int | None:
    """Return the smallest of several length limits, of which None means no limit."""
    return min((limit for limit in limits if limit is not None), default=None)
