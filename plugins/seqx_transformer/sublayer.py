"""What surrounds each sub-layer of a stack: a residual sum, a norm and dropout.

Letters in shapes: B sentences, T tokens, D = d_model.
"""

from collections.abc import Callable
from typing import Literal

from torch import Tensor, nn

from seqx_transformer.dropout import Dropout
from seqx_transformer.norm import Norm

NormPlace = Literal["post", "pre"]


class Residual(nn.Module):
    """Adds what a sub-layer makes of x to x; the norm comes after the sum or before the sub-layer.

    post: Norm(x + Dropout(Sublayer(x))) (Vaswani et al. 2017, section 5.4);
    pre: x + Dropout(Sublayer(Norm(x))) (Xiong et al. 2020). In both, x is multiplied by `scale` in the
    sum; with post, that is DeepNorm (Wang et al. 2022, arXiv:2203.00555).
    """

    def __init__(self, norm: Norm, place: NormPlace, dropout: float, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.norm = norm
        self.before = place == "pre"
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        """From [B, T, D] to [B, T, D]."""
        if self.before:
            return self._scaled(x) + self.dropout(sublayer(self.norm(x)))
        return self.norm(self._scaled(x) + self.dropout(sublayer(x)))

    def _scaled(self, x: Tensor) -> Tensor:
        return x if self.scale == 1 else x * self.scale
