"""One recurrent layer: LSTM and GRU.

Letters in shapes: B sentences, T tokens, I the width of what enters, D that of what leaves, G gates and
candidates of a cell.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import seqx

R = TypeVar("R")

Hidden = tuple[Tensor, ...]
"""What a layer remembers of each sentence, [B, D] each: its last output, and whatever else."""

SHUT = 1e4
"""Added to or taken from what a gate sees, it leaves the gate fully open or fully shut, in any precision."""


class Recurrence(nn.Module, ABC):
    """Reads a sequence token by token; after each, what it remembers has changed.

    Weights are named and laid out as those of PyTorch's cells. At first they are, gate by gate, uniform for
    what enters (Glorot and Bengio 2010), orthogonal for what is remembered (Saxe et al. 2014); biases are 0.

    Args:
        forget_bias: first bias of the gate that keeps what is remembered
        dropout: share of the recurrent weights dropped in training
    """

    gates: int
    remembers: int
    """How many tensors a layer's `Hidden` has."""

    keeps: int
    """Which of the gates keeps what is remembered."""

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
        nn.init.constant_(self.bias_ih.data.chunk(self.gates)[self.keeps], forget_bias)

    def start(self, x: Tensor) -> Hidden:
        """Nothing remembered: zeros, for sentences x [B, ...]."""
        return (x.new_zeros(x.size(0), self.width),) * self.remembers

    def weights(self) -> list[Tensor]:
        """Of what enters [G * D, I] and of what is remembered [G * D, D], and the biases [G * D] of both."""
        recurrent = F.dropout(self.weight_hh, self.dropout, self.training) if self.dropout else self.weight_hh
        weights = [self.weight_ih, recurrent, self.bias_ih, self.bias_hh]
        dtype = kernel_dtype(recurrent.device)
        return weights if dtype is None else [tensor.to(dtype) for tensor in weights]

    def forward(self, x: Tensor, hidden: Hidden, keep: Tensor | None) -> tuple[Tensor, Hidden]:
        """From [B, T, I] to [B, T, D] by a kernel that knows all T tokens, and what is remembered after them.

        `keep` [B, T] bool is False on padding, which is on the right and moves nothing; None: no padding.
        """
        return self._called(self._sequence, x, hidden, keep, self.weights())

    def step(self, x: Tensor, hidden: Hidden, weights: list[Tensor]) -> Hidden:
        """What is remembered after one more token [B, I]; `weights` are those of the whole sequence."""
        return self._called(self._cell, x, hidden, weights)

    def _called(self, kernel: Callable[..., R], x: Tensor, hidden: Hidden, *others: Any) -> R:
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

    gates, remembers, keeps = 4, 2, 1

    def _sequence(
        self, x: Tensor, hidden: Hidden, keep: Tensor | None, weights: list[Tensor]
    ) -> tuple[Tensor, Hidden]:
        """From [B, T, I] to [B, T, D], and the last output and cell."""
        h, c = hidden
        into, *others = weights
        if keep is not None:
            # The kernel hands over the last cell alone, so padding must not move it: a further input, 1 on
            # padding, shuts the input gate and opens the forget gate.
            padding = ~keep[..., None]
            x = torch.cat([x.masked_fill(padding, 0), padding.to(x.dtype)], -1)
            still = into.new_zeros(len(into))  # created on the device, to avoid a copy from the host
            still[: self.width] = -SHUT
            still[self.width : 2 * self.width] = SHUT
            into = torch.cat([into, still[:, None]], 1)
        y, _, c = torch.lstm(
            x, (h[None], c[None]), [into, *others], True, 1, 0.0, torch.is_grad_enabled(), False, True
        )
        return y, (latest(y, keep, h), c[0])

    def _cell(self, x: Tensor, hidden: Hidden, weights: list[Tensor]) -> Hidden:
        """The output and the cell after one more token [B, I]."""
        return torch.lstm_cell(x, hidden, *weights)


class GRU(Recurrence):
    """Gated recurrent units (Cho et al. 2014), the reset gate behind the matrix product, as cuDNN has it."""

    gates, remembers, keeps = 3, 1, 1

    def _sequence(
        self, x: Tensor, hidden: Hidden, keep: Tensor | None, weights: list[Tensor]
    ) -> tuple[Tensor, Hidden]:
        """From [B, T, I] to [B, T, D], and the last output."""
        (h,) = hidden
        y, _ = torch.gru(x, h[None], weights, True, 1, 0.0, torch.is_grad_enabled(), False, True)
        return y, (latest(y, keep, h),)

    def _cell(self, x: Tensor, hidden: Hidden, weights: list[Tensor]) -> Hidden:
        """The output after one more token [B, I]."""
        return (torch.gru_cell(x, *hidden, *weights),)


def latest(values: Tensor, keep: Tensor | None, before: Tensor) -> Tensor:
    """Of [B, T, D] what stands at each sentence's last token; `before` [B, D] where it has none."""
    if keep is None:
        return values[:, -1]
    lengths = keep.sum(1)
    places = (lengths - 1).clamp_min(0)[:, None, None].expand(-1, 1, values.size(2))
    return torch.where(lengths[:, None] > 0, values.gather(1, places)[:, 0], before)


def kernel_dtype(device: torch.device) -> torch.dtype | None:
    """Return the type for calling a recurrent kernel with autocast disabled; None: leave autocast on.

    Autocast chooses float16 on GPUs instead of bfloat16, and on CPUs without bfloat16 a kernel that does not
    exist. On CPUs with bfloat16 it works, and casts the weights once for all tokens of a search.
    """
    if not torch.is_autocast_enabled(device.type):
        return None
    wanted, cpu = torch.get_autocast_dtype(device.type), device.type == "cpu"
    if torch.compiler.is_compiling():  # the device can't be asked
        return torch.float32 if cpu else wanted
    if not seqx.has_bf16(device):
        return torch.float32
    return None if cpu else wanted
