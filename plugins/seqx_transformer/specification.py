"""Neutral descriptions of stacks of layers, for exporters."""

from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

import seqx


def added_vectors(encoding: seqx.PositionalEncoding, count: int) -> Tensor:
    """Return the vectors [N, D] that an encoding adds to the first `count` embeddings."""
    with torch.no_grad():
        return encoding.embed(torch.zeros(1, count, encoding.d_model), torch.arange(count)[None])[0]


def two_linear_maps(
    inner: nn.Module, outer: nn.Module, activation: Literal["relu", "gelu", "silu"]
) -> seqx.FeedForwardSpec:
    """Return the description of a network of two linear maps, or two convolutions with kernel size 1."""
    maps = [cast("nn.Linear", part) for part in (inner, outer)]
    first, second = (seqx.LinearSpec(weight=part.weight.flatten(1), bias=part.bias) for part in maps)
    return seqx.FeedForwardSpec(activation=activation, inner=first, outer=second)


def describe_stack(stack: Any) -> seqx.StackSpec:
    """Return the description of an encoder or a decoder with the attributes of a `TransformerStack`."""
    first = stack.layers[0].attended
    return seqx.StackSpec(
        layers=[_describe_layer(layer) for layer in stack.layers],
        positions=seqx.describe(stack.positions.first, "positions"),
        norm_order=first.order,
        residual_scale=first.scale,
        norm=None if isinstance(stack.norm, nn.Identity) else seqx.describe(stack.norm, "norm"),
        limit=stack.limit,
    )


def _describe_layer(layer: Any) -> seqx.LayerSpec:
    cross = getattr(layer, "cross_attention", None)
    return seqx.LayerSpec(
        attention=seqx.describe(layer.attention, "attention"),
        attention_norm=seqx.describe(layer.attended.norm, "norm"),
        cross_attention=None if cross is None else seqx.describe(cross, "cross_attention"),
        cross_norm=None if cross is None else seqx.describe(layer.crossed.norm, "norm"),
        feedforward=seqx.describe(layer.feedforward, "feedforward"),
        feedforward_norm=seqx.describe(layer.transformed.norm, "norm"),
    )
