from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn

import seqx


class NewcomerSlots(seqx.Slots):
    """Slots with the sums of target embeddings [S, K, D], updated in place; S is the number of slots."""

    def __init__(self, model: "Newcomer", sources: Tensor, hypotheses: int) -> None:
        self.hypotheses = hypotheses
        self.occupied = [*range(len(sources))]
        self.model = model
        self.sources = sources.clone()  # [S, D]
        self.sums = sources.new_zeros(len(sources), hypotheses, sources.size(1))

    def step(self, ids: Tensor) -> Tensor:
        rows = self._rows()
        self.sums[rows] += self.model.target(ids).view(len(rows), self.hypotheses, -1)
        outputs = torch.tanh(self.sources[rows, None] + self.sums[rows])  # [A, K, D]
        return self.model.head(outputs).flatten(0, 1)

    def reorder(self, parents: Tensor) -> None:
        rows = self._rows()
        self.sums[rows] = self.sums[rows].gather(1, parents[..., None].expand(-1, -1, self.sums.size(2)))

    def release(self, slots: Collection[int]) -> None:
        self.occupied = [slot for slot in self.occupied if slot not in slots]

    def fill(self, slots: Sequence[int], memory: seqx.Memory) -> None:
        rows = torch.tensor(slots, device=self.sums.device)
        self.sources[rows], _ = self.model.start(memory, None)
        self.sums[rows] = 0
        self.occupied = sorted([*self.occupied, *slots])

    def _rows(self) -> Tensor:
        return torch.tensor(self.occupied, device=self.sums.device)


class Newcomer(seqx.Generator):
    """A model that predicts from the sum of the target embeddings and the mean of the source."""

    def __init__(self, vocab_sizes: Mapping[str, int]) -> None:
        super().__init__(vocab_sizes)
        self.d_model = 16
        self.source = nn.Embedding(vocab_sizes["source"], 16)
        self.target = nn.Embedding(vocab_sizes["target"], 16)
        self.projection = nn.Linear(16, vocab_sizes["target"])

    def encode(self, source: seqx.Column) -> seqx.Memory:
        embeddings = self.source(source.values)
        return seqx.Memory(embeddings, embeddings, source.layout)

    def start(self, memory: seqx.Memory, capacity: int | None) -> tuple[Tensor, Tensor]:
        keep = memory.layout.keep[..., None]
        mean = memory.states.masked_fill(~keep, 0).sum(1) / keep.sum(1).clamp_min(1)  # [B, D]
        return mean, torch.zeros_like(mean)

    def advance(
        self, ids: Tensor, state: tuple[Tensor, Tensor], keep: Tensor | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        source, total = state
        embeddings = self.target(ids)
        if keep is not None:
            embeddings = embeddings.masked_fill(~keep[..., None], 0)
        sums = total[:, None] + embeddings.cumsum(1)  # [B, T, D]
        return torch.tanh(source[:, None] + sums), (source, sums[:, -1])

    def head(self, outputs: Tensor) -> Tensor:
        return self.projection(outputs)

    def slots(self, memory: seqx.Memory, count: int, hypotheses: int, capacity: int | None) -> NewcomerSlots:
        return NewcomerSlots(self, self.start(memory, capacity)[0], hypotheses)


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    registry.add(seqx.Model, newcomer=Newcomer)
