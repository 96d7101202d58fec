from collections.abc import Mapping
from typing import Annotated

from annotated_types import Gt
from torch import Tensor, nn

import seqx


class Newcomer(seqx.Model):
    """A model that predicts each target token from the mean source embedding (Joulin et al. 2017).

    Args:
        width: size of the embeddings
    """

    def __init__(self, vocab_sizes: Mapping[str, int], *, width: Annotated[int, Gt(0)] = 64) -> None:
        super().__init__(vocab_sizes)
        self.embedding = nn.Embedding(vocab_sizes["source"], width)
        self.projection = nn.Linear(width, vocab_sizes["target"])

    def forward(self, batch: seqx.Batch) -> Tensor:
        source, target = batch.columns["source"], batch.columns["target"]
        keep = source.layout.keep[..., None]
        mean = self.embedding(source.values).masked_fill(~keep, 0).sum(1) / keep.sum(1)  # [B, D]
        return mean[:, None].expand(-1, target.values.size(1), -1)

    def head(self, outputs: Tensor) -> Tensor:
        return self.projection(outputs)


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    registry.add(seqx.Model, newcomer=Newcomer)
