from collections.abc import Mapping
from typing import Annotated

from annotated_types import Gt
from torch import Tensor, nn

import seqx


class Newcomer(seqx.Generator):
    """A model that predicts the next target token from the previous one and the mean source embedding.

    Args:
        width: size of the embeddings
    """

    def __init__(self, vocab_sizes: Mapping[str, int], *, width: Annotated[int, Gt(0)] = 64) -> None:
        super().__init__(vocab_sizes)
        self.d_model = width
        self.source_embedding = nn.Embedding(vocab_sizes["source"], width)
        self.target_embedding = nn.Embedding(vocab_sizes["target"], width)
        self.projection = nn.Linear(width, vocab_sizes["target"])

    def encode(self, source: seqx.Column) -> seqx.Memory:
        embeddings = self.source_embedding(source.values)
        return seqx.Memory(embeddings, embeddings, source.layout)

    def start(self, memory: seqx.Memory, capacity: int | None) -> seqx.State:
        keep = memory.layout.keep[..., None]
        return memory.states.masked_fill(~keep, 0).sum(1) / keep.sum(1).clamp_min(1)  # [B, D]

    def advance(self, ids: Tensor, state: seqx.State, keep: Tensor | None) -> tuple[Tensor, seqx.State]:
        return self.target_embedding(ids) + state[:, None], state

    def head(self, outputs: Tensor) -> Tensor:
        return self.projection(outputs)


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    registry.add(seqx.Model, newcomer=Newcomer)
