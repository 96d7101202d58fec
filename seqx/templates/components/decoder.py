from typing import Any

import torch
from torch import Tensor, nn

import seqx


class Newcomer(seqx.Decoder):
    """A decoder that sees the mean of the target tokens so far and the mean of the encoder states."""

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model)
        self.past = nn.Linear(d_model, d_model)
        self.source = nn.Linear(d_model, d_model)

    def start(self, memory: seqx.Memory | None, batch: int, capacity: int | None) -> seqx.State:
        assert memory is not None, "models pass a source, because `uses_source` is true"
        zeros = self.past.weight.new_zeros(batch, self.d_model)
        keep = memory.layout.keep[..., None]
        mean = memory.states.masked_fill(~keep, 0).sum(1) / keep.sum(1).clamp_min(1)
        return zeros, zeros[:, :1], self.source(mean)

    def forward(self, inputs: Tensor, state: Any, keep: Tensor | None) -> tuple[Tensor, seqx.State]:
        total, count, source = state  # [B, D], [B, 1], [B, D]
        is_token = torch.ones_like(inputs[..., :1]) if keep is None else keep[..., None].to(inputs.dtype)
        totals = total[:, None] + (inputs.masked_fill(is_token == 0, 0)).cumsum(1)  # [B, T, D]
        counts = count[:, None] + is_token.cumsum(1)  # [B, T, 1]
        outputs = inputs + self.past(totals / counts.clamp_min(1)) + source[:, None]
        return outputs, (totals[:, -1], counts[:, -1], source)


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    registry.add(seqx.Decoder, newcomer=Newcomer)
