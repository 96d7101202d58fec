"""The order of a recurrent decoder's steps: when it attends to the source, and how it uses the context.

Letters in shapes: B sentences, S source tokens, T target tokens, D = d_model.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

import seqx
from seqx_recurrent.recurrence import at_last_token
from seqx_recurrent.stack import Hiddens, Stack


class RecurrentState(NamedTuple):
    """The state of a recurrent decoder between tokens."""

    lengths: Tensor  # [B] number of target tokens so far
    hidden: Hiddens  # the hidden state of each layer
    output: Tensor | None  # [B, D] the previous output, for input feeding
    source: seqx.KeyValue | None  # the keys and values of the source


class AttentionOrder(nn.Module, ABC):
    """Base class of modules that run a stack over the target tokens and attend to the source."""

    uses_source: bool = True
    """True if the order attends to a source."""

    feeds_output: bool = False
    """True if the first layer's input contains the previous output, which is then part of the state."""

    has_wide_input: bool = False
    """True if the first layer's input is an embedding and another vector, with 2 D features instead of D."""

    @abstractmethod
    def forward(
        self, x: Tensor, stack: Stack, state: RecurrentState, layout: seqx.Layout, keep: Tensor | None
    ) -> tuple[Tensor, RecurrentState]:
        """Map embeddings [B, T, D] to outputs [B, T, D]; also return the state after them."""

    def project(self, memory: seqx.Memory) -> seqx.KeyValue | None:
        """Return the keys and values of the source; None without attention."""
        return None


class NoAttention(AttentionOrder):
    """The stack alone: a language model, or a decoder whose initial state alone depends on the source."""

    uses_source = False

    def forward(
        self, x: Tensor, stack: Stack, state: RecurrentState, layout: seqx.Layout, keep: Tensor | None
    ) -> tuple[Tensor, RecurrentState]:
        """Map embeddings [B, T, D] to outputs [B, T, D]; also return the state after them."""
        y, hidden = stack(x, state.hidden, keep)
        return y, state._replace(hidden=hidden)


class WithAttention(AttentionOrder):
    """Base class of the orders that attend to a source."""

    def __init__(self, d_model: int, attention: seqx.Attention) -> None:
        super().__init__()
        self.attention = attention

    def project(self, memory: seqx.Memory) -> seqx.KeyValue:
        """Return the keys and values of the source."""
        return self.attention.project(memory.states, memory.states, seqx.Positioned.unordered(memory.layout))

    def context(self, queries: Tensor, state: RecurrentState, layout: seqx.Layout) -> Tensor:
        """Return the context vectors [B, T, D] of queries [B, T, D]."""
        assert state.source is not None, "check() guarantees a source"
        return self.attention(queries, seqx.Positioned.unordered(layout), state.source, seqx.Mask())


class Luong(WithAttention):
    """Global attention after the recurrent step (Luong et al. 2015, section 3.1), for all tokens at once.

    The stack reads token t and returns s_t. The attention of s_t to the source returns the context c_t. The
    output is tanh(W [c_t; s_t]) (equation 5).
    """

    def __init__(self, d_model: int, attention: seqx.Attention) -> None:
        super().__init__(d_model, attention)
        self.combine = nn.Linear(2 * d_model, d_model, bias=False)
        nn.init.xavier_uniform_(self.combine.weight)

    def forward(
        self, x: Tensor, stack: Stack, state: RecurrentState, layout: seqx.Layout, keep: Tensor | None
    ) -> tuple[Tensor, RecurrentState]:
        """Map embeddings [B, T, D] to outputs [B, T, D]; also return the state after them."""
        y, hidden = stack(x, state.hidden, keep)
        return self.attentional(y, state, layout), state._replace(hidden=hidden)

    def attentional(self, y: Tensor, state: RecurrentState, layout: seqx.Layout) -> Tensor:
        """Return the attentional vectors tanh(W [c; s]) [B, T, D] of the stack's outputs s [B, T, D]."""
        return torch.tanh(self.combine(torch.cat([self.context(y, state, layout), y], -1)))


class InputFeeding(Luong):
    """Luong's order with input feeding: the output for token t - 1 is an input at token t (section 3.3).

    The input at a token depends on the output at the token before it, so training takes a loop over tokens.
    """

    feeds_output = has_wide_input = True

    def forward(
        self, x: Tensor, stack: Stack, state: RecurrentState, layout: seqx.Layout, keep: Tensor | None
    ) -> tuple[Tensor, RecurrentState]:
        """Map embeddings [B, T, D] to outputs [B, T, D]; also return the state after them."""
        weights, hidden, output = stack.weights(), state.hidden, state.output
        assert output is not None, "start() sets the output"
        outputs, hiddens, previous_output = [], [], output
        for token, token_layout in _tokens(x, layout):
            y, hidden = stack.step(torch.cat([token, output], -1), hidden, weights)
            output = self.attentional(y[:, None], state, token_layout)[:, 0]
            outputs.append(output)
            hiddens.append(hidden)
        all_outputs = torch.stack(outputs, 1)
        hidden = _hidden_at_last_token(hiddens, keep, state.hidden)
        output = at_last_token(all_outputs, keep, previous_output)
        return all_outputs, state._replace(hidden=hidden, output=output)


class Bahdanau(WithAttention):
    """Attention before the recurrent step (Bahdanau et al. 2015, appendix A.2.2).

    The previous state of the highest layer attends to the source; the context and the token's embedding are
    the input of the lowest layer. The output is the maximum of two linear maps (maxout) of state, embedding
    and context. Here the output uses the state after the token. The paper uses the state before it, which in
    a stack of several layers would not depend on the token's context.
    """

    has_wide_input = True

    def __init__(self, d_model: int, attention: seqx.Attention) -> None:
        super().__init__(d_model, attention)
        self.readout = nn.Linear(3 * d_model, 2 * d_model)
        nn.init.xavier_uniform_(self.readout.weight)
        nn.init.zeros_(self.readout.bias)

    def forward(
        self, x: Tensor, stack: Stack, state: RecurrentState, layout: seqx.Layout, keep: Tensor | None
    ) -> tuple[Tensor, RecurrentState]:
        """Map embeddings [B, T, D] to outputs [B, T, D]; also return the state after them."""
        weights, hidden = stack.weights(), state.hidden
        states, contexts, hiddens = [], [], []
        for token, token_layout in _tokens(x, layout):
            context = self.context(hidden[-1][0][:, None], state, token_layout)[:, 0]
            y, hidden = stack.step(torch.cat([token, context], -1), hidden, weights)
            states.append(y)
            contexts.append(context)
            hiddens.append(hidden)
        features = torch.cat([torch.stack(states, 1), x, torch.stack(contexts, 1)], -1)  # [B, T, 3 D]
        outputs = self.readout(features).unflatten(-1, (-1, 2)).amax(-1)
        return outputs, state._replace(hidden=_hidden_at_last_token(hiddens, keep, state.hidden))


def _tokens(x: Tensor, layout: seqx.Layout) -> Iterator[tuple[Tensor, seqx.Layout]]:
    """Yield the embedding [B, D] and the layout [B, 1] of each token."""
    for t, token in enumerate(x.unbind(1)):
        yield token, seqx.Layout(layout.keep[:, t : t + 1], layout.positions[:, t : t + 1])


def _hidden_at_last_token(hiddens: list[Hiddens], keep: Tensor | None, before: Hiddens) -> Hiddens:
    """Return the hidden state after each sentence's last token.

    Args:
        hiddens: the hidden states after each of the T tokens
        keep: [B, T] bool, false on padding
        before: the hidden state before the T tokens, for sentences without a token
    """
    if keep is None:
        return hiddens[-1]
    layers = zip(*hiddens, strict=True)  # for each layer, its hidden states after each token
    return tuple(
        tuple(
            at_last_token(torch.stack(values, 1), keep, first)
            for values, first in zip(zip(*layer, strict=True), start, strict=True)
        )
        for layer, start in zip(layers, before, strict=True)
    )
