"""Flex attention, which skips blocks of keys that the mask hides from all queries of a block."""

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

import seqx
from seqx_transformer.kernels.kernel import HeadInputs, Kernel, fused_limitation


class Flex(Kernel):
    """`torch.nn.attention.flex_attention` (Dong et al. 2024), which reads the description of the mask.

    On a GPU it is compiled at its first call, which takes seconds. On a CPU it is slow and computes no
    gradients; there it is useful for tests only.
    """

    def limitation(self, inputs: HeadInputs) -> str | None:
        """Return a reason why the kernel cannot compute the inputs; None if it can."""
        memory = inputs.memory
        tensors = (inputs.queries, memory.keys, memory.values)
        if inputs.queries.device.type == "cpu" and any(tensor.requires_grad for tensor in tensors):
            return "it computes no gradients on a CPU"
        if torch.are_deterministic_algorithms_enabled():
            return "it sums gradients in an order that varies between runs"
        return fused_limitation(inputs, dropout=False)

    def prepare(self, queries: seqx.Layout, keys: seqx.Layout, mask: seqx.Mask, like: Tensor) -> None:
        """Find the blocks of a shared mask, once for all layers of a stack."""
        _blocks(queries, keys, mask)

    def __call__(self, inputs: HeadInputs) -> Tensor:
        """Return the outputs of all heads [B, H, T, V]."""
        q, k, v = inputs.queries, inputs.memory.keys, inputs.memory.values
        blocks = _blocks(inputs.positioned.layout, inputs.memory.layout, inputs.mask)
        add = (
            None
            if inputs.positional is None
            else _adding(inputs.positional.expand(len(q), q.size(1), -1, -1))
        )
        if torch.compiler.is_compiling():  # a layer, whose graph can hold neither a cache nor warnings
            return _flex_attention()(q, k, v, add, blocks, scale=1.0)
        if q.device.type != "cpu":
            return _compiled_flex_attention()(q, k, v, add, blocks, scale=1.0)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "flex_attention called without")  # not compiled, as documented
            return _flex_attention()(q, k, v, add, blocks, scale=1.0)


def _flex_attention() -> Callable[..., Any]:
    """Return the function of torch."""
    from torch.nn.attention.flex_attention import flex_attention  # noqa: PLC0415  the import takes seconds

    return flex_attention


@cache
def _compiled_flex_attention() -> Callable[..., Any]:
    return torch.compile(_flex_attention(), dynamic=True)


def _adding(term: Tensor) -> Callable[..., Tensor]:
    """Return a function that adds a term [B, H, T, S] to scores."""
    return lambda score, b, h, t, s: score + term[b, h, t, s].to(score.dtype)


def _blocks(queries: seqx.Layout, keys: seqx.Layout, mask: seqx.Mask) -> Any:
    """Return the mask as a `BlockMask`."""
    from torch.nn.attention.flex_attention import create_block_mask  # noqa: PLC0415  as above

    (batch, length), size = queries.keep.shape, keys.keep.size(1)
    allowed = None if mask.allowed is None else mask.allowed.expand(batch, length, size)

    def visible(b: Tensor, _: Tensor, t: Tensor, s: Tensor) -> Tensor:
        found = keys.keep[b, s]
        q, k = queries.positions[b, t], keys.positions[b, s]
        if mask.causal:
            found = found & (k <= q)
        if mask.window is not None:
            found = found & ((q - k).abs() <= mask.window)
        if queries.segments is not None and keys.segments is not None:
            found = found & (queries.segments[b, t] == keys.segments[b, s])
        if allowed is not None:
            found = found & allowed[b, t, s]
        return found

    def build() -> Any:
        return create_block_mask(visible, batch, None, length, size, device=str(keys.keep.device))

    return mask.form("blocks", queries, keys, build)
