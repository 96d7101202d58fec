"""When a recurrent decoder looks at the source, and what becomes of what it saw.

Letters in shapes: B sentences, S source tokens, T target tokens, D = d_model.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

import seqx
from seqx_recurrent.recurrence import latest
from seqx_recurrent.stack import Hiddens, Stack


class RecurrentState(NamedTuple):
    """What a decoder remembers between tokens."""

    lengths: Tensor  # [B] tokens written so far
    hidden: Hiddens  # what each layer remembers
    fed: Tensor | None  # [B, D] the last output, where it is fed back
    source: seqx.KeyValue | None  # what attention projected of the source


class AttentionOrder(nn.Module, ABC):
    """Runs a stack over target tokens."""

    looks: bool = True
    """Whether there has to be a source."""

    feeds: bool = False
    """Whether the last output is a part of the state."""

    told: bool = False
    """Whether what enters the first layer has D more numbers than an embedding."""

    @abstractmethod
    def forward(
        self, x: Tensor, stack: Stack, state: RecurrentState, layout: seqx.Layout, keep: Tensor | None
    ) -> tuple[Tensor, RecurrentState]:
        """From embeddings [B, T, D] to outputs [B, T, D], and what is remembered after them."""

    def project(self, memory: seqx.Memory) -> seqx.KeyValue | None:
        """What can be looked at, where something looks."""
        return None


class NoAttention(AttentionOrder):
    """Looks at nothing."""

    looks = False

    def forward(
        self, x: Tensor, stack: Stack, state: RecurrentState, layout: seqx.Layout, keep: Tensor | None
    ) -> tuple[Tensor, RecurrentState]:
        """From embeddings [B, T, D] to outputs [B, T, D], and what is remembered after them."""
        y, hidden = stack(x, state.hidden, keep)
        return y, state._replace(hidden=hidden)


class WithAttention(AttentionOrder):
    """Looks at a source."""

    def __init__(self, d_model: int, attention: seqx.Attention) -> None:
        super().__init__()
        self.attention = attention

    def project(self, memory: seqx.Memory) -> seqx.KeyValue:
        """What can be looked at."""
        return self.attention.project(memory.states, memory.states, seqx.Positioned.unordered(memory.layout))

    def look(self, queries: Tensor, state: RecurrentState, layout: seqx.Layout) -> Tensor:
        """What the source has for [B, T, D]: [B, T, D]."""
        assert state.source is not None, "whoever looks has started from a source"
        return self.attention(queries, seqx.Positioned.unordered(layout), state.source, seqx.Mask())


class Luong(WithAttention):
    """Reads a token, then looks with the new state; all tokens at once (Luong et al. 2015, section 3)."""

    def __init__(self, d_model: int, attention: seqx.Attention) -> None:
        super().__init__(d_model, attention)
        self.combine = nn.Linear(2 * d_model, d_model, bias=False)
        nn.init.xavier_uniform_(self.combine.weight)

    def forward(
        self, x: Tensor, stack: Stack, state: RecurrentState, layout: seqx.Layout, keep: Tensor | None
    ) -> tuple[Tensor, RecurrentState]:
        """From embeddings [B, T, D] to outputs [B, T, D], and what is remembered after them."""
        y, hidden = stack(x, state.hidden, keep)
        return self.attentional(y, state, layout), state._replace(hidden=hidden)

    def attentional(self, y: Tensor, state: RecurrentState, layout: seqx.Layout) -> Tensor:
        """The attentional vectors [B, T, D] of what the stack gives."""
        return torch.tanh(self.combine(torch.cat([self.look(y, state, layout), y], -1)))


class InputFeeding(Luong):
    """As `Luong`, and each output enters with the next token (section 3.3), which has to wait for it."""

    feeds = told = True

    def forward(
        self, x: Tensor, stack: Stack, state: RecurrentState, layout: seqx.Layout, keep: Tensor | None
    ) -> tuple[Tensor, RecurrentState]:
        """From embeddings [B, T, D] to outputs [B, T, D], and what is remembered after them."""
        weights, hidden, fed = stack.weights(), state.hidden, state.fed
        assert fed is not None, "what is fed is part of the state"
        outputs, remembered, before = [], [], fed
        for token, positioned in _tokens(x, layout):
            y, hidden = stack.step(torch.cat([token, fed], -1), hidden, weights)
            fed = self.attentional(y[:, None], state, positioned)[:, 0]
            outputs.append(fed)
            remembered.append(hidden)
        written = torch.stack(outputs, 1)
        hidden = _settled(remembered, keep, state.hidden)
        return written, state._replace(hidden=hidden, fed=latest(written, keep, before))


class Bahdanau(WithAttention):
    """Looks with the state before a token, and reads it with what was seen (Bahdanau et al. 2015, A.2.2).

    The highest layer's state looks, the lowest layer is told. Outputs are the larger of two linear maps
    (maxout) of state, token and what was seen. The state is that after the token; the paper takes the one
    before, which with several layers would know little of it.
    """

    told = True

    def __init__(self, d_model: int, attention: seqx.Attention) -> None:
        super().__init__(d_model, attention)
        self.readout = nn.Linear(3 * d_model, 2 * d_model)
        nn.init.xavier_uniform_(self.readout.weight)
        nn.init.zeros_(self.readout.bias)

    def forward(
        self, x: Tensor, stack: Stack, state: RecurrentState, layout: seqx.Layout, keep: Tensor | None
    ) -> tuple[Tensor, RecurrentState]:
        """From embeddings [B, T, D] to outputs [B, T, D], and what is remembered after them."""
        weights, hidden = stack.weights(), state.hidden
        outputs, seen, remembered = [], [], []
        for token, positioned in _tokens(x, layout):
            context = self.look(hidden[-1][0][:, None], state, positioned)[:, 0]
            y, hidden = stack.step(torch.cat([token, context], -1), hidden, weights)
            outputs.append(y)
            seen.append(context)
            remembered.append(hidden)
        known = torch.cat([torch.stack(outputs, 1), x, torch.stack(seen, 1)], -1)  # [B, T, 3 * D]
        written = self.readout(known).unflatten(-1, (-1, 2)).amax(-1)
        return written, state._replace(hidden=_settled(remembered, keep, state.hidden))


def _tokens(x: Tensor, layout: seqx.Layout) -> Iterator[tuple[Tensor, seqx.Layout]]:
    """Each token's embedding [B, D] and place."""
    for t, token in enumerate(x.unbind(1)):
        yield token, seqx.Layout(layout.keep[:, t : t + 1], layout.positions[:, t : t + 1])


def _settled(remembered: list[Hiddens], keep: Tensor | None, before: Hiddens) -> Hiddens:
    """Of what was remembered after each token, what was so after each sentence's last one."""
    if keep is None:
        return remembered[-1]
    layers = zip(*remembered, strict=True)  # of each, what it remembered after each token
    return tuple(
        tuple(
            latest(torch.stack(values, 1), keep, first)
            for values, first in zip(zip(*layer, strict=True), start, strict=True)
        )
        for layer, start in zip(layers, before, strict=True)
    )
