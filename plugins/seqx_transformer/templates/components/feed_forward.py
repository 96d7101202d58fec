from torch import Tensor, nn

import seqx
from seqx_transformer import FeedForward


class Newcomer(FeedForward):
    """Two linear maps with a squared ReLU between them.

    Args:
        width: width of the hidden layer
    """

    def __init__(self, d_model: int, *, width: int = 256) -> None:
        super().__init__(d_model)
        self.inner = nn.Linear(d_model, width)
        self.outer = nn.Linear(width, d_model)

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(self.inner(x).relu().square())


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    registry.add(FeedForward, newcomer=Newcomer)
