"""A small model with a tied head, and batches for it."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import seqx


class Toy(seqx.Generator):
    """A model whose outputs are a hidden layer over the previous token and the mean of the source."""

    def __init__(self, symbols: int = 13, width: int = 6, *, bias: bool = True) -> None:
        super().__init__({"source": symbols, "target": symbols})
        self.embedding = nn.Embedding(symbols, width)
        self.hidden = nn.Linear(2 * width, width)
        self.bias = nn.Parameter(torch.randn(symbols)) if bias else None
        self.rows: list[int] = []  # rows of logits in each call of the head

    def encode(self, source: seqx.Column) -> Tensor:
        kept = self.embedding(source.values) * source.layout.keep[..., None]
        return kept.sum(1) / source.layout.keep.sum(1, keepdim=True)

    def start(self, memory: Tensor, capacity: int | None) -> Tensor:
        return memory

    def advance(self, ids: Tensor, state: Any, keep: Tensor | None) -> tuple[Tensor, Any]:
        embedded = self.embedding(ids)
        return torch.tanh(self.hidden(torch.cat([embedded, state[:, None].expand_as(embedded)], -1))), state

    def head(self, outputs: Tensor) -> Tensor:
        self.rows.append(outputs.shape[:-1].numel())
        return F.linear(outputs, self.embedding.weight, self.bias)


def batch(lengths: Sequence[int], symbols: int = 13, seed: int = 0) -> seqx.Batch:
    """Return a batch of random sentences whose targets have these lengths."""
    generator = torch.Generator().manual_seed(seed)

    def column(sizes: list[int]) -> seqx.Column:
        ids = torch.zeros(len(sizes), max(sizes), dtype=torch.long)
        for row, size in zip(ids, sizes, strict=True):
            row[:size] = torch.randint(4, symbols, (size,), generator=generator)
            row[size - 1] = seqx.EOS
        return seqx.Column.of(ids, torch.tensor(sizes))

    columns = {"source": column([size + 1 for size in lengths]), "target": column(list(lengths))}
    return seqx.Batch(columns, sum(lengths))
