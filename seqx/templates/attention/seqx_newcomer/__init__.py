"""Attention with normalized queries and keys.

Letters in shapes: B sentences, T queries, S keys, D = d_model, H heads, K the width of a head.
"""

from typing import Annotated

import seqx
import torch
import torch.nn.functional as F
from annotated_types import Gt
from torch import Tensor, nn


class Newcomer(seqx.Attention):
    """Query-key normalization: scores are cosines times a learned scale (Henry et al. 2020, section 3).

    Args:
        heads: number of subspaces; divides d_model
        scale: initial value of the learned scale

    Raises:
        ValueError: heads does not divide d_model
    """

    def __init__(
        self, d_model: int, *, heads: Annotated[int, Gt(0)] = 8, scale: Annotated[float, Gt(0)] = 10.0
    ) -> None:
        super().__init__(d_model)
        if d_model % heads:
            raise ValueError(f"heads ({heads}) must divide d_model ({d_model})")
        self.heads = heads
        self.query = nn.Linear(d_model, d_model, bias=False)
        self.key = nn.Linear(d_model, d_model, bias=False)
        self.value = nn.Linear(d_model, d_model, bias=False)
        self.output = nn.Linear(d_model, d_model, bias=False)
        self.scale = nn.Parameter(torch.tensor(scale))

    def project(self, keys: Tensor, values: Tensor, positioned: seqx.Positioned) -> seqx.KeyValue:
        """Return keys and values [B, H, S, K], both from [B, S, D]."""
        k = F.normalize(self._split(self.key(keys)), dim=-1)
        return seqx.KeyValue(positioned.key(k), self._split(self.value(values)), positioned.layout)

    def forward(
        self, queries: Tensor, positioned: seqx.Positioned, memory: seqx.KeyValue, mask: seqx.Mask
    ) -> Tensor:
        """Attend from the queries [B, T, D] to the memory; return [B, T, D]."""
        q = F.normalize(self._split(self.query(queries)), dim=-1)
        q = positioned.query(q) * self.scale  # [B, H, T, K]
        scores = q @ memory.keys.mT  # [B, H, T, S]
        relative = positioned.bias(q, memory)
        if relative is not None:
            scores = scores + relative
        visible = mask.dense(positioned.layout, memory.layout)  # [B, 1, T, S]
        # A finite number instead of -inf avoids NaN in rows where nothing is visible.
        weights = scores.masked_fill(~visible, torch.finfo(scores.dtype).min).softmax(-1)
        mixed = weights @ memory.values
        added = positioned.values(weights, memory)
        if added is not None:
            mixed = mixed + added
        output: Tensor = self.output(mixed.transpose(1, 2).flatten(2))  # [B, T, D]
        return output

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)  # [B, H, T, K]


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    """Register the component under its name in recipes."""
    registry.add(seqx.Attention, newcomer=Newcomer)
