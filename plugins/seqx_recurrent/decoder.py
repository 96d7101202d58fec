"""Recurrent decoders.

Letters in shapes: B sentences, S source tokens, T target tokens, D = d_model.
"""

from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn

import seqx
from seqx_recurrent.attention_order import (
    AttentionOrder,
    Bahdanau,
    InputFeeding,
    Luong,
    NoAttention,
    RecurrentState,
    WithAttention,
)
from seqx_recurrent.initial_state import InitialState, Summary
from seqx_recurrent.recurrence import GRU, LSTM, Recurrence
from seqx_recurrent.stack import Stack

Order = Literal["luong", "bahdanau"]


class RecurrentDecoder(seqx.Decoder):
    """A stack of recurrent layers that writes, looking at a source or not.

    Without input feeding, Luong's order computes all target tokens at once in training; otherwise a token
    waits for what was seen for the one before it.

    Args:
        layers: how many
        attention: what looks at the source; null: nothing does
        order: luong: a token is read, then the new state looks (Luong et al. 2015); bahdanau: the state
            looks, then the token is read with what was seen (Bahdanau et al. 2015)
        input_feeding: whether, in Luong's order, each output enters with the next token (section 3.3)
        initial: which states of the source the first state is made of, by a tanh layer: their mean, the
            first or the last; null: it is 0, and knows nothing of the source
        residual: whether each layer but the first adds its input to its output (Wu et al. 2016, section 3.1)
        dropout: share dropped in training of what enters each layer and of the outputs (Zaremba et al. 2014)
        recurrent_dropout: share of the recurrent weights dropped in training, for a batch at a time (Wan et
            al. 2013; Merity et al. 2018)
        forget_bias: first bias of the gate that keeps what is remembered: an LSTM's forget gate (Jozefowicz
            et al. 2015: 1), a GRU's update gate

    Raises:
        ValueError: when input feeding or Bahdanau's order has no attention, or both are asked for
    """

    recurrence: ClassVar[type[Recurrence]]

    def __init__(
        self,
        d_model: int,
        *,
        layers: Annotated[int, Gt(0)] = 2,
        attention: seqx.Make[seqx.Attention] | None,
        order: Order = "luong",
        input_feeding: bool = False,
        initial: Summary | None = "mean",
        residual: bool = False,
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.2,
        recurrent_dropout: Annotated[float, Ge(0), Lt(1)] = 0.0,
        forget_bias: float = 1.0,
    ) -> None:
        super().__init__(d_model)
        if order == "bahdanau" and input_feeding:
            raise ValueError("input_feeding belongs to order: luong; Bahdanau's order feeds what was seen")
        if attention is None and (input_feeding or order == "bahdanau"):
            asked = "input_feeding" if input_feeding else f"order: {order}"
            raise ValueError(f"{asked} needs an attention; name one")
        ordered: dict[tuple[Order, bool], type[WithAttention]] = {
            ("luong", False): Luong,
            ("luong", True): InputFeeding,
            ("bahdanau", False): Bahdanau,
        }
        look = None if attention is None else attention(d_model)
        if look is not None:
            look.check(None)
        self.writing: AttentionOrder = (
            NoAttention() if look is None else ordered[order, input_feeding](d_model, look)
        )

        def layer(number: int) -> Recurrence:
            inputs = 2 * d_model if self.writing.told and not number else d_model
            return self.recurrence(inputs, d_model, forget_bias=forget_bias, dropout=recurrent_dropout)

        self.stack = Stack([layer(number) for number in range(layers)], residual=residual, dropout=dropout)
        tensors = layers * self.recurrence.remembers
        self.first = None if initial is None else InitialState(d_model, tensors, initial)
        looking = [("attention", self.writing.looks), ("initial", self.first is not None)]
        self.uses_source = any(looks for _, looks in looking)
        self.source_setting = " and ".join(name for name, looks in looking if looks) or "attention or initial"
        self.dropout = nn.Dropout(dropout)

    def start(self, memory: seqx.Memory | None, batch: int, capacity: int | None) -> RecurrentState:
        """The state of `batch` sentences before the first token; it has one size, whatever the capacity."""
        nothing = next(self.parameters()).new_zeros(batch, self.d_model)
        hidden = self.stack.start(nothing)
        if self.first is not None and memory is not None:
            made = iter(self.first(memory))
            hidden = tuple(tuple(next(made) for _ in layer) for layer in hidden)
        return RecurrentState(
            lengths=torch.zeros(batch, dtype=torch.int64, device=nothing.device),
            hidden=hidden,
            fed=nothing if self.writing.feeds else None,
            source=None if memory is None else self.writing.project(memory),
        )

    def forward(
        self, inputs: Tensor, state: RecurrentState, keep: Tensor | None
    ) -> tuple[Tensor, RecurrentState]:
        """Advance by embeddings [B, T, D]; returns outputs [B, T, D] and the state after them."""
        kept = inputs.new_ones(inputs.shape[:2], dtype=torch.bool) if keep is None else keep
        layout = seqx.Layout.of(kept, state.lengths)
        outputs, after = self.writing(inputs, self.stack, state, layout, keep)
        return self.dropout(outputs), after._replace(lengths=state.lengths + kept.sum(1))


class LSTMDecoder(RecurrentDecoder):
    """A stack of LSTMs (Hochreiter and Schmidhuber 1997) that writes."""

    recurrence = LSTM


class GRUDecoder(RecurrentDecoder):
    """A stack of GRUs (Cho et al. 2014) that writes."""

    recurrence = GRU
