"""Recurrent decoders.

Letters in shapes: B sentences, S source tokens, T target tokens, D = d_model.
"""

from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Gt, Lt
from pydantic import FiniteFloat
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
    """A stack of recurrent layers with attention to the source, or a language model without a source.

    In training, Luong's order without input feeding computes all target tokens at once. The other orders take
    a loop over the tokens.

    Args:
        layers: number of layers
        attention: attention to the source; null: none
        order: order of attention and recurrent step; luong: attend after the step (Luong et al. 2015);
            bahdanau: attend before the step (Bahdanau et al. 2015)
        input_feeding: with order luong, feed each output into the next step (section 3.3)
        initial: summary of the source from which a tanh layer computes the initial state: the mean of the
            encoder's states, the first or the last state; null: the initial state is 0
        residual: add the input of each layer but the first to its output (Wu et al. 2016, section 3.1)
        dropout: dropout probability of each layer's input and of the outputs (Zaremba et al. 2014)
        recurrent_dropout: dropout probability of the recurrent weights, one mask for each batch (Wan et al.
            2013; Merity et al. 2018)
        forget_bias: initial bias of an LSTM's forget gate (Jozefowicz et al. 2015: 1) or a GRU's update gate

    Raises:
        ValueError: input feeding or Bahdanau's order without attention, or both together
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
        forget_bias: FiniteFloat = 1.0,
    ) -> None:
        super().__init__(d_model)
        if order == "bahdanau" and input_feeding:
            raise ValueError(
                "input_feeding needs order: luong, because order: bahdanau feeds the context instead; set "
                "input_feeding: false"
            )
        if attention is None and (input_feeding or order == "bahdanau"):
            setting = "input_feeding" if input_feeding else f"order: {order}"
            raise ValueError(f"{setting} needs attention, but attention is null; set an attention")
        orders: dict[tuple[Order, bool], type[WithAttention]] = {
            ("luong", False): Luong,
            ("luong", True): InputFeeding,
            ("bahdanau", False): Bahdanau,
        }
        source_attention = None if attention is None else attention(d_model)
        if source_attention is not None:
            source_attention.check(None)
        self.writing: AttentionOrder = (
            NoAttention()
            if source_attention is None
            else orders[order, input_feeding](d_model, source_attention)
        )

        def layer(number: int) -> Recurrence:
            inputs = 2 * d_model if self.writing.has_wide_input and not number else d_model
            return self.recurrence(inputs, d_model, forget_bias=forget_bias, dropout=recurrent_dropout)

        self.stack = Stack([layer(number) for number in range(layers)], residual=residual, dropout=dropout)
        tensors = layers * self.recurrence.hidden_tensors
        self.first = None if initial is None else InitialState(d_model, tensors, initial)
        uses_source = {"attention": self.writing.uses_source, "initial": self.first is not None}
        self.uses_source = any(uses_source.values())
        settings = [name for name, is_used in uses_source.items() if is_used]
        self.source_setting = " and ".join(settings) or "attention or initial"
        self.dropout = nn.Dropout(dropout)

    def start(self, memory: seqx.Memory | None, batch: int, capacity: int | None) -> RecurrentState:
        """Return the state before the first token. The state does not grow, so `capacity` is not used."""
        zeros = next(self.parameters()).new_zeros(batch, self.d_model)
        hidden = self.stack.start(zeros)
        if self.first is not None and memory is not None:
            tensors = iter(self.first(memory))
            hidden = tuple(tuple(next(tensors) for _ in layer) for layer in hidden)
        return RecurrentState(
            lengths=torch.zeros(batch, dtype=torch.int64, device=zeros.device),
            hidden=hidden,
            output=zeros if self.writing.feeds_output else None,
            source=None if memory is None else self.writing.project(memory),
        )

    def forward(
        self, inputs: Tensor, state: RecurrentState, keep: Tensor | None
    ) -> tuple[Tensor, RecurrentState]:
        """Advance by embeddings [B, T, D]; return outputs [B, T, D] and the state after them."""
        kept = inputs.new_ones(inputs.shape[:2], dtype=torch.bool) if keep is None else keep
        layout = seqx.Layout.of(kept, state.lengths)
        outputs, new_state = self.writing(inputs, self.stack, state, layout, keep)
        return self.dropout(outputs), new_state._replace(lengths=state.lengths + kept.sum(1))


class LSTMDecoder(RecurrentDecoder):
    """A decoder of LSTMs (Hochreiter and Schmidhuber 1997)."""

    recurrence = LSTM


class GRUDecoder(RecurrentDecoder):
    """A decoder of GRUs (Cho et al. 2014)."""

    recurrence = GRU
