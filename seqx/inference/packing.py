"""Packing of the weights of linear maps, in the format that the CPU multiplies fastest.

PyTorch arranges a weight for its kernels in every call, which takes most of the time if there are few rows. A
packed weight is arranged once, when a model is loaded. `benchmarks/linear_layers.py` compares the formats.
"""

import logging

import torch
from torch import nn

from seqx.interfaces.tensors import ScaledEmbedding
from seqx.runtime.packed_weights import Int8, OneDNN, OneDNNBf16, Packed, PackedWeight
from seqx.runtime.precision import ComputePrecision, has_bf16, has_onednn

log = logging.getLogger("seqx.inference")

MIN_SIZE = 1 << 18
"""The smallest number of elements of a weight that is packed. Packing makes smaller weights slower."""


def fastest(precision: ComputePrecision) -> type[Packed] | None:
    """Return the format that this CPU multiplies fastest; None: the usual format of PyTorch."""
    if precision == "int8":
        return Int8
    if precision == "bf16":
        return OneDNNBf16 if has_bf16(torch.device("cpu")) else None
    return OneDNN if has_onednn() else None


def pack(model: nn.Module, precision: ComputePrecision, min_size: int = MIN_SIZE) -> None:
    """Pack the weights of the linear maps and output projections of a model on the CPU.

    Weights that several modules share stay shared. A weight whose rows are also embeddings is kept in both
    formats.

    Args:
        model: the model
        precision: the number format of its matrix products
        min_size: the smallest number of elements of a weight that is packed
    """
    packed = fastest(precision)
    if packed is None:
        return
    weights: dict[int, PackedWeight] = {}
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    for module in model.modules():
        if not isinstance(module, nn.Linear | ScaledEmbedding) or module.weight.numel() < min_size:
            continue
        weight = module.weight
        key = id(weight)
        if key not in weights:
            weights[key] = PackedWeight.of(weight, packed, is_embedding=key in embeddings)
        module.weight = weights[key]
    if precision == "int8" and not weights:
        log.warning(
            "precision int8: no weight of the model has %s elements or more, so nothing is computed in int8; "
            "leave precision out",
            f"{min_size:,}",
        )
