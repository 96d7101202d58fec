"""Recurrent encoders.

Letters in shapes: B sentences, S tokens, D = d_model.
"""

from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn

import seqx
from seqx_recurrent.recurrence import GRU, LSTM, Recurrence


class OneWay(nn.Module):
    """A layer that reads from left to right."""

    def __init__(self, recurrence: Recurrence) -> None:
        super().__init__()
        self.forwards = recurrence

    def forward(self, x: Tensor, turned: Tensor) -> Tensor:
        """From [B, S, I] to [B, S, D]; padding, being on the right, is read when nothing follows."""
        return self.forwards(x, self.forwards.start(x), None)[0]


class BothWays(nn.Module):
    """Two layers side by side, one of which reads from right to left (Schuster and Paliwal 1997)."""

    def __init__(self, forwards: Recurrence, backwards: Recurrence) -> None:
        super().__init__()
        self.forwards = OneWay(forwards)
        self.backwards = OneWay(backwards)

    def forward(self, x: Tensor, turned: Tensor) -> Tensor:
        """From [B, S, I] to [B, S, D]; `turned` [B, S]: where each token stands in its sentence turned."""
        right = self.forwards(x, turned)
        left = self.backwards(_taken(x, turned), turned)
        return torch.cat([right, _taken(left, turned)], -1)


class RecurrentEncoder(seqx.Encoder):
    """A stack of recurrent layers.

    Args:
        layers: how many
        bidirectional: which layers read from both ends (all: Bahdanau et al. 2015; first: Wu et al. 2016;
            none); each direction then has half of d_model
        residual: whether each layer but the first adds its input to its output (Wu et al. 2016, section 3.1)
        dropout: share dropped in training of what enters each layer and what leaves the last (Zaremba et al.
            2014)
        recurrent_dropout: share of the recurrent weights dropped in training, for a batch at a time (Wan et
            al. 2013; Merity et al. 2018)
        forget_bias: first bias of the gate that keeps what is remembered: an LSTM's forget gate (Jozefowicz
            et al. 2015: 1), a GRU's update gate

    Raises:
        ValueError: when d_model is odd and a layer reads from both ends
    """

    recurrence: ClassVar[type[Recurrence]]

    def __init__(
        self,
        d_model: int,
        *,
        layers: Annotated[int, Gt(0)] = 2,
        bidirectional: Literal["all", "first", "none"] = "all",
        residual: bool = False,
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.2,
        recurrent_dropout: Annotated[float, Ge(0), Lt(1)] = 0.0,
        forget_bias: float = 1.0,
    ) -> None:
        super().__init__(d_model)
        both = {"all": layers, "first": 1, "none": 0}[bidirectional]
        if both and d_model % 2:
            raise ValueError(f"d_model ({d_model}) is odd: it cannot be halved; set bidirectional: none")

        def recurrence(width: int) -> Recurrence:
            return self.recurrence(d_model, width, forget_bias=forget_bias, dropout=recurrent_dropout)

        def layer(number: int) -> nn.Module:
            if number < both:
                return BothWays(recurrence(d_model // 2), recurrence(d_model // 2))
            return OneWay(recurrence(d_model))

        # No seqx.Layers: compiled, the kernels' loops over tokens would be unrolled anew for each length.
        self.layers = nn.ModuleList(map(layer, range(layers)))
        self.residual = residual
        self.dropout = nn.Dropout(dropout)

    def forward(self, inputs: Tensor, layout: seqx.Layout) -> Tensor:
        """From embeddings [B, S, D] to states [B, S, D]; padding is on the right."""
        places = torch.arange(inputs.size(1), device=inputs.device)
        lengths = layout.keep.sum(1, keepdim=True)
        turned = torch.where(places < lengths, lengths - 1 - places, places)  # [B, S]
        x = inputs
        for i, layer in enumerate(self.layers):
            y = layer(self.dropout(x), turned)
            x = x + y if self.residual and i else y
        return self.dropout(x)


class LSTMEncoder(RecurrentEncoder):
    """A stack of LSTMs (Hochreiter and Schmidhuber 1997), by default from both ends."""

    recurrence = LSTM


class GRUEncoder(RecurrentEncoder):
    """A stack of GRUs (Cho et al. 2014), by default from both ends."""

    recurrence = GRU


def _taken(x: Tensor, places: Tensor) -> Tensor:
    """Of [B, S, D] what stands at places [B, S]."""
    return x.gather(1, places[..., None].expand(-1, -1, x.size(2)))
