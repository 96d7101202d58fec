"""A model that is small enough for exhaustive search, and functions to check a search against it.

The next token of the model depends on the source's first token and on the last two tokens written.
"""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

import seqx

LETTERS = 3
VOCABULARY = 4 + LETTERS


class Toy(seqx.Generator):
    """A model with a table of logits [V, V, V, V]. Its state is the first source token and the last token."""

    def __init__(self, *, seed: int = 0, spread: float = 1.0) -> None:
        super().__init__({"source": VOCABULARY, "target": VOCABULARY})
        generator = torch.Generator().manual_seed(seed)
        self.table = torch.randn(*[VOCABULARY] * 4, generator=generator) * spread
        self.steps = 0

    def encode(self, source: seqx.Column) -> seqx.State:
        return source.values[:, :1]

    def start(self, memory: seqx.State, capacity: int | None) -> seqx.State:
        return {"first": memory, "last": torch.full_like(memory, seqx.BOS)}

    def advance(self, ids: Tensor, state: seqx.State, keep: Tensor | None) -> tuple[Tensor, seqx.State]:
        self.steps += 1
        first, last = state["first"], state["last"]
        before = torch.cat([last, ids[:, :-1]], 1)
        outputs = torch.stack([first.expand_as(ids), before, ids], -1)
        return outputs, {"first": first, "last": ids[:, -1:]}

    def head(self, outputs: Tensor) -> Tensor:
        return self.table[outputs[..., 0], outputs[..., 1], outputs[..., 2]]


def sources(*sentences: Sequence[int]) -> seqx.Column:
    """Return a batch of sentences; the ids of each sentence are passed without EOS."""
    rows = [[*sentence, seqx.EOS] for sentence in sentences]
    width = max(map(len, rows))
    ids = torch.tensor([row + [seqx.PAD] * (width - len(row)) for row in rows])
    return seqx.Column.of(ids, torch.tensor([len(row) for row in rows]))


def logprob(model: seqx.Generator, source: Sequence[int], ids: Sequence[int]) -> float:
    """Return log P(ids, EOS | source), from one forward pass over the target."""
    return logprobs(model, source, [ids])[0]


def logprobs(model: seqx.Generator, source: Sequence[int], targets: Sequence[Sequence[int]]) -> list[float]:
    """Return the log-probabilities of several targets, from one forward pass over all of them."""
    batch = seqx.Batch.of(source=sources(*[source] * len(targets)), target=sources(*targets))
    found: list[float] = model.score(batch).sum(1).tolist()
    return found


def outputs(limit: int, symbols: Sequence[int] = range(3, VOCABULARY)) -> list[tuple[int, ...]]:
    """Return every sequence of at most `limit` symbols."""
    return [word for n in range(limit + 1) for word in itertools.product(symbols, repeat=n)]
