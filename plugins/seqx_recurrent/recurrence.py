"""Recurrent layers: LSTM and GRU.

Letters in shapes: B sentences, T tokens, I input features, D hidden features, G gates of a cell, including
its candidate.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import seqx

R = TypeVar("R")

Hidden = tuple[Tensor, ...]
"""The hidden state of a layer: the last output [B, D] and, for an LSTM, the cell [B, D]."""

SATURATE = 1e4
"""A value that, added to the input of a sigmoid, makes it exactly 1 (or, subtracted, 0) in any precision."""


class Recurrence(nn.Module, ABC):
    """A recurrent layer.

    Weights have the names and the layout of PyTorch's cells. Each gate is initialised separately: input
    weights are uniform (Glorot and Bengio 2010), recurrent weights orthogonal (Saxe et al. 2014), biases 0.

    Args:
        forget_bias: initial bias of the forget gate (LSTM) or update gate (GRU)
        dropout: dropout probability of the recurrent weights
    """

    gates: int
    """Number of gates, including the candidate: G."""

    hidden_tensors: int
    """Number of tensors of the hidden state."""

    forget_gate: int
    """Index of the gate that keeps the hidden state."""

    def __init__(self, inputs: int, width: int, *, forget_bias: float, dropout: float) -> None:
        super().__init__()
        self.width = width
        self.dropout = dropout
        self.weight_ih = nn.Parameter(torch.empty(self.gates * width, inputs))
        self.weight_hh = nn.Parameter(torch.empty(self.gates * width, width))
        self.bias_ih = nn.Parameter(torch.zeros(self.gates * width))
        self.bias_hh = nn.Parameter(torch.zeros(self.gates * width))
        for weights, initialise in (
            (self.weight_ih, nn.init.xavier_uniform_),
            (self.weight_hh, nn.init.orthogonal_),
        ):
            for gate in weights.data.chunk(self.gates):
                initialise(gate)
        nn.init.constant_(self.bias_ih.data.chunk(self.gates)[self.forget_gate], forget_bias)

    def start(self, x: Tensor) -> Hidden:
        """Return a hidden state of zeros for the sentences x [B, ...]."""
        return (x.new_zeros(x.size(0), self.width),) * self.hidden_tensors

    def weights(self) -> list[Tensor]:
        """Return the weights of input [G D, I] and hidden state [G D, D], and the biases [G D] of both."""
        recurrent = F.dropout(self.weight_hh, self.dropout, self.training) if self.dropout else self.weight_hh
        weights = [self.weight_ih, recurrent, self.bias_ih, self.bias_hh]
        dtype = kernel_dtype(recurrent.device)
        return weights if dtype is None else [tensor.to(dtype) for tensor in weights]

    def forward(self, x: Tensor, hidden: Hidden, keep: Tensor | None) -> tuple[Tensor, Hidden]:
        """Map T tokens [B, T, I] to [B, T, D] by one kernel; also return the hidden state after them.

        `keep` [B, T] bool is false on padding, which is on the right and does not change the hidden state;
        None: no padding.
        """
        run = partial(self._run, self._sequence, x, hidden, keep, self.weights())
        if x.device.type == "cpu" or torch.compiler.is_compiling():
            return run()
        with warnings.catch_warnings():
            # cuDNN copies the weights, and warns of that. Its advice is for torch.nn.LSTM and GRU.
            warnings.filterwarnings("ignore", "RNN module weights are not part of single contiguous chunk")
            return run()

    def step(self, x: Tensor, hidden: Hidden, weights: list[Tensor]) -> Hidden:
        """Return the hidden state after one more token [B, I]; `weights` come from `weights()`."""
        return self._run(self._cell, x, hidden, weights)

    def _run(self, kernel: Callable[..., R], x: Tensor, hidden: Hidden, *others: Any) -> R:
        """Call a kernel with all tensors in `kernel_dtype`."""
        dtype = kernel_dtype(x.device)
        if dtype is None:
            return kernel(x, hidden, *others)
        with torch.autocast(x.device.type, enabled=False):
            return kernel(x.to(dtype), tuple(tensor.to(dtype) for tensor in hidden), *others)

    @abstractmethod
    def _sequence(
        self, x: Tensor, hidden: Hidden, keep: Tensor | None, weights: list[Tensor]
    ) -> tuple[Tensor, Hidden]:
        """Run the kernel on all tokens, with the arguments and results of `forward`."""

    @abstractmethod
    def _cell(self, x: Tensor, hidden: Hidden, weights: list[Tensor]) -> Hidden:
        """Run the kernel on one token, with the arguments and results of `step`."""


class LSTM(Recurrence):
    """Long short-term memory (Hochreiter and Schmidhuber 1997) with a forget gate (Gers et al. 2000)."""

    gates, hidden_tensors, forget_gate = 4, 2, 1

    def _sequence(
        self, x: Tensor, hidden: Hidden, keep: Tensor | None, weights: list[Tensor]
    ) -> tuple[Tensor, Hidden]:
        """Map [B, T, I] to [B, T, D]; also return the last output and cell."""
        h, c = hidden
        input_weights, *others = weights
        if keep is not None:
            # The kernel returns only the cell after the last position, so padding must not change the cell.
            # An additional input, which is 1 on padding, closes the input gate and opens the forget gate.
            padding = ~keep[..., None]
            x = torch.cat([x.masked_fill(padding, 0), padding.to(x.dtype)], -1)
            freeze = input_weights.new_zeros(len(input_weights))  # created on the device, without a copy
            freeze[: self.width] = -SATURATE
            freeze[self.width : 2 * self.width] = SATURATE
            input_weights = torch.cat([input_weights, freeze[:, None]], 1)
        y, _, c = torch.lstm(
            x,
            (h[None], c[None]),
            [input_weights, *others],
            True,
            1,
            0.0,
            torch.is_grad_enabled(),
            False,
            True,
        )
        return y, (at_last_token(y, keep, h), c[0])

    def _cell(self, x: Tensor, hidden: Hidden, weights: list[Tensor]) -> Hidden:
        """Return the output and the cell after one more token [B, I]."""
        return torch.lstm_cell(x, hidden, *weights)


class GRU(Recurrence):
    """Gated recurrent unit (Cho et al. 2014), with the reset gate after the matrix product, as in cuDNN."""

    gates, hidden_tensors, forget_gate = 3, 1, 1

    def _sequence(
        self, x: Tensor, hidden: Hidden, keep: Tensor | None, weights: list[Tensor]
    ) -> tuple[Tensor, Hidden]:
        """Map [B, T, I] to [B, T, D]; also return the last output."""
        (h,) = hidden
        y, _ = torch.gru(x, h[None], weights, True, 1, 0.0, torch.is_grad_enabled(), False, True)
        return y, (at_last_token(y, keep, h),)

    def _cell(self, x: Tensor, hidden: Hidden, weights: list[Tensor]) -> Hidden:
        """Return the output after one more token [B, I]."""
        return (torch.gru_cell(x, *hidden, *weights),)


def at_last_token(values: Tensor, keep: Tensor | None, before: Tensor) -> Tensor:
    """Return the values [B, D] at each sentence's last token, from [B, T, D].

    Args:
        values: [B, T, D]
        keep: [B, T] bool, false on padding, which is on the right; None: no padding
        before: [B, D] the result for sentences without a token
    """
    if keep is None:
        return values[:, -1]
    lengths = keep.sum(1)
    last = (lengths - 1).clamp_min(0)[:, None, None].expand(-1, 1, values.size(2))
    return torch.where(lengths[:, None] > 0, values.gather(1, last)[:, 0], before)


def kernel_dtype(device: torch.device) -> torch.dtype | None:
    """Return the dtype in which to call a recurrent kernel with autocast disabled; None: leave autocast on.

    On GPUs autocast chooses float16 instead of bfloat16 for recurrent kernels. On CPUs without bfloat16 it
    chooses a kernel that does not exist. On CPUs with bfloat16 autocast works, and casts the weights only
    once for all tokens of a search.
    """
    if not torch.is_autocast_enabled(device.type):
        return None
    dtype, cpu = torch.get_autocast_dtype(device.type), device.type == "cpu"
    if torch.compiler.is_compiling():  # has_bf16 cannot run in a compiled graph
        return torch.float32 if cpu else dtype
    if not seqx.has_bf16(device):
        return torch.float32
    return None if cpu else dtype
