"""Recurrent encoders.

Letters in shapes: B sentences, S tokens, D = d_model.
"""

from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Gt, Lt
from pydantic import FiniteFloat
from torch import Tensor, nn

import seqx
from seqx_recurrent.recurrence import GRU, LSTM, Recurrence


class OneWay(nn.Module):
    """A layer that reads the sentence from left to right."""

    def __init__(self, recurrence: Recurrence) -> None:
        super().__init__()
        self.forwards = recurrence

    def forward(self, x: Tensor, reverse: Tensor) -> Tensor:
        """Map [B, S, I] to [B, S, D]; `reverse` is not used.

        Padding is on the right, so it does not change the states of tokens.
        """
        return self.forwards(x, self.forwards.start(x), None)[0]


class BothWays(nn.Module):
    """A bidirectional layer: the states of both directions, concatenated (Schuster and Paliwal 1997)."""

    def __init__(self, forwards: Recurrence, backwards: Recurrence) -> None:
        super().__init__()
        self.forwards = OneWay(forwards)
        self.backwards = OneWay(backwards)

    def forward(self, x: Tensor, reverse: Tensor) -> Tensor:
        """Map [B, S, I] to [B, S, D]; `reverse` [B, S] has the index of each token in reverse order."""
        left_to_right = self.forwards(x, reverse)
        right_to_left = self.backwards(_reorder(x, reverse), reverse)
        return torch.cat([left_to_right, _reorder(right_to_left, reverse)], -1)


class RecurrentEncoder(seqx.Encoder):
    """A stack of recurrent layers, by default bidirectional.

    Args:
        layers: number of layers
        bidirectional: layers that are bidirectional: all (Bahdanau et al. 2015), the first (Wu et al. 2016)
            or none; each direction of a bidirectional layer has d_model / 2 features
        residual: add the input of each layer but the first to its output (Wu et al. 2016, section 3.1)
        dropout: dropout probability of each layer's input and of the last output (Zaremba et al. 2014)
        recurrent_dropout: dropout probability of the recurrent weights, one mask for each batch (Wan et al.
            2013; Merity et al. 2018)
        forget_bias: initial bias of an LSTM's forget gate (Jozefowicz et al. 2015: 1) or a GRU's update gate

    Raises:
        ValueError: d_model is odd and a layer is bidirectional
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
        forget_bias: FiniteFloat = 1.0,
    ) -> None:
        super().__init__(d_model)
        bidirectional_layers = {"all": layers, "first": 1, "none": 0}[bidirectional]
        if bidirectional_layers and d_model % 2:
            raise ValueError(
                f"d_model ({d_model}) must be even for bidirectional layers; or set bidirectional: none"
            )

        def recurrence(width: int) -> Recurrence:
            return self.recurrence(d_model, width, forget_bias=forget_bias, dropout=recurrent_dropout)

        def layer(number: int) -> nn.Module:
            if number < bidirectional_layers:
                return BothWays(recurrence(d_model // 2), recurrence(d_model // 2))
            return OneWay(recurrence(d_model))

        # Not seqx.Layers, because training compiles those, which would unroll the kernels' loops over tokens.
        self.layers = nn.ModuleList(map(layer, range(layers)))
        self.residual = residual
        self.dropout = nn.Dropout(dropout)

    def forward(self, inputs: Tensor, layout: seqx.Layout) -> Tensor:
        """Map embeddings [B, S, D] to states [B, S, D]; padding is on the right."""
        indices = torch.arange(inputs.size(1), device=inputs.device)
        lengths = layout.keep.sum(1, keepdim=True)
        reverse = torch.where(indices < lengths, lengths - 1 - indices, indices)  # [B, S]
        x = inputs
        for i, layer in enumerate(self.layers):
            y = layer(self.dropout(x), reverse)
            x = x + y if self.residual and i else y
        return self.dropout(x)


class LSTMEncoder(RecurrentEncoder):
    """A stack of LSTMs (Hochreiter and Schmidhuber 1997), by default bidirectional."""

    recurrence = LSTM


class GRUEncoder(RecurrentEncoder):
    """A stack of GRUs (Cho et al. 2014), by default bidirectional."""

    recurrence = GRU


def _reorder(x: Tensor, indices: Tensor) -> Tensor:
    """Return the vectors of x [B, S, D] at indices [B, S] of their sentences."""
    return x.gather(1, indices[..., None].expand(-1, -1, x.size(2)))
