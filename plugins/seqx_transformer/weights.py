"""Weights in the dtype of autocast, cast by one kernel.

Autocast casts each weight, and each gradient back, by a kernel of its own. In an update of a Transformer, a
third of all kernels were such casts.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import chain
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import seqx
from seqx_transformer.attention import MultiHeadAttention, split_heads
from seqx_transformer.layer_variants import RMSNorm
from seqx_transformer.layers import LayerNorm


class WeightEntry(NamedTuple):
    """An entry of a module from which it reads a weight, and the parameters that are concatenated there."""

    attributes: dict[str, Any]
    name: str
    parameters: Sequence[Tensor]


def cast_weights(layer: nn.Module, x: Tensor) -> AbstractContextManager[None]:
    """Return a context with cast weights of a Transformer layer, if autocast would cast each one.

    Of weights that have the dtype of autocast already, only those that are multiplied together are copied.

    Args:
        layer: a layer of an encoder or decoder
        x: the input of the layer, on a GPU
    """
    # Without gradients, autocast casts each weight only once. A compiler combines the casts itself.
    device = x.device.type
    if not torch.is_autocast_enabled(device) or not torch.is_grad_enabled():
        return nullcontext()
    if torch.compiler.is_compiling() or getattr(layer, "_compiled_call_impl", None) is not None:
        return nullcontext()
    entries, dtype = list(_layer_weights(layer)), torch.get_autocast_dtype(device)
    if all(p.dtype == dtype for entry in entries for p in entry.parameters):
        entries = [entry for entry in entries if len(entry.parameters) > 1]  # they are only concatenated
    if not entries or not _can_join([p for entry in entries for p in entry.parameters]):
        return nullcontext()
    return _cast_weights(entries, dtype)


@contextmanager
def _cast_weights(entries: Sequence[WeightEntry], dtype: torch.dtype) -> Iterator[None]:
    """Put cast weights into the entries for the duration of the block."""
    before = [attributes.get(name) for attributes, name, _ in entries]
    try:
        for entry, new in zip(entries, join([entry.parameters for entry in entries], dtype), strict=True):
            entry.attributes[entry.name] = new
        yield
    finally:
        for entry, old in zip(entries, before, strict=True):
            entry.attributes[entry.name] = old


def project_source(
    attentions: Sequence[seqx.Attention], memory: seqx.Memory
) -> tuple[seqx.KeyValue, ...] | None:
    """Return the keys and values of the source for the cross-attentions of all layers, from one product.

    Return None if they must be computed one by one, as in a search, where the weights would be concatenated
    again for each batch.
    """
    joined = [a for a in attentions if isinstance(a, MultiHeadAttention) and a.joins_projections]
    if len(joined) < len(attentions) or not torch.is_grad_enabled():
        return None
    weights, biases = _source_parameters(joined)
    if len(biases) not in (0, len(weights)) or not _can_join(weights):
        return None
    states, device = memory.states, memory.states.device.type
    cast = torch.is_autocast_enabled(device)
    dtype = torch.get_autocast_dtype(device) if cast else weights[0].dtype
    weight, *bias = join([weights, biases] if biases else [weights], dtype)
    parts = torch.split(F.linear(states, weight, *bias), [len(part) for part in weights], -1)
    return tuple(
        seqx.KeyValue(split_heads(k, a.heads), split_heads(v, a.heads), memory.layout)
        for a, k, v in zip(joined, parts[::2], parts[1::2], strict=True)
    )


def _source_parameters(attentions: Sequence[MultiHeadAttention]) -> tuple[list[Tensor], list[Tensor]]:
    """Return the weights of the keys and values of each attention, and their biases if there are any."""
    groups = [attention.joined_parameters() for attention in attentions]
    return [w for weights, _ in groups for w in weights[1:]], [b for _, biases in groups for b in biases[1:]]


def _can_join(parameters: Sequence[Tensor]) -> bool:
    """Return true if all parameters are float32 or all are bfloat16, and none is sharded over ranks.

    A sharded parameter is whole only while its own module is called.
    """
    dtypes = {p.dtype for p in parameters}
    return dtypes in ({torch.float32}, {torch.bfloat16}) and not any(
        hasattr(p, "full_tensor") for p in parameters
    )


def join(groups: Sequence[Sequence[Tensor]], dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Return a tensor for each group of tensors: cast, and concatenated along the first dimension."""
    return _Join.apply(dtype, [len(group) for group in groups], *chain(*groups))  # type: ignore[no-untyped-call]


def _layer_weights(layer: nn.Module) -> Iterator[WeightEntry]:
    """Yield the entries of the weights that the matrix products and norms of a Transformer layer read.

    The keys and values of the source are projected before the layer is called. So the weights for them are
    left out, as are all weights that a module may need in float32.
    """
    done = set[nn.Module]()
    for module in layer.modules():
        if module in done:
            continue
        if isinstance(module, MultiHeadAttention) and module is not layer.attention:
            done |= {module.key, module.value}
        elif isinstance(module, MultiHeadAttention) and module.joins_projections:
            done |= {module.query, module.key, module.value}
            weights, biases = module.joined_parameters()
            yield WeightEntry(vars(module), "joined_weight", weights)
            if biases:
                yield WeightEntry(vars(module), "joined_bias", biases)
        elif type(module) in (nn.Linear, nn.Conv1d, LayerNorm, RMSNorm):
            yield from _own_weights(module)


def _own_weights(module: nn.Module) -> Iterator[WeightEntry]:
    parameters = module._parameters  # noqa: SLF001  as torch.func.functional_call does
    for name, parameter in parameters.items():
        if parameter is not None:
            yield WeightEntry(parameters, name, [parameter])


class _Join(torch.autograd.Function):
    """Cast and concatenate groups of tensors in one kernel, and cast their gradients back in another."""

    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype, sizes: Sequence[int], *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        remaining = iter(tensors)
        groups = [[next(remaining) for _ in range(size)] for size in sizes]
        ctx.dtype, ctx.rows = tensors[0].dtype, [[len(tensor) for tensor in group] for group in groups]
        joined = [
            group[0].new_empty((sum(rows), *group[0].shape[1:]), dtype=dtype)
            for group, rows in zip(groups, ctx.rows, strict=True)
        ]
        parts = [
            part for whole, rows in zip(joined, ctx.rows, strict=True) for part in torch.split(whole, rows)
        ]
        torch._foreach_copy_(parts, list(tensors))
        return tuple(joined)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        present = [grad for grad in grads if grad is not None]
        cast = [torch.empty_like(grad, dtype=ctx.dtype) for grad in present]
        torch._foreach_copy_(cast, present)
        remaining = iter(cast)
        parts = (
            [None] * len(rows) if grad is None else torch.split(next(remaining), rows)
            for grad, rows in zip(grads, ctx.rows, strict=True)
        )
        return None, None, *chain.from_iterable(parts)
