"""The Transformer compared with PyTorch's independent implementation, with the same weights."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import seqx
from seqx_transformer import GELU, MultiHeadAttention, ReLU, TransformerDecoder, TransformerEncoder
from seqx_transformer.positions import NoPositions

B, S, T, D, HEADS, WIDTH, LAYERS = 3, 7, 5, 16, 4, 24, 2
SOURCE = seqx.Layout.of(torch.arange(S) < torch.tensor([7, 4, 1])[:, None])
TARGET = seqx.Layout.of(torch.arange(T) < torch.tensor([5, 2, 3])[:, None])


def settings(norm_order: str, activation: str) -> dict[str, Any]:
    return {
        "layers": LAYERS,
        "attention": partial(MultiHeadAttention, heads=HEADS, bias=True),
        "feedforward": partial(ReLU if activation == "relu" else GELU, width=WIDTH),
        "positions": NoPositions,
        "norm_order": norm_order,
    }


def scramble(module: nn.Module) -> None:
    """Set all parameters to random values, also those whose initial value is 0 or 1."""
    for p in module.parameters():
        nn.init.normal_(p, 0.5, 0.3)


def copy(ours: Any, theirs: Any) -> None:
    """Copy the weights of a module of PyTorch into one of seqx."""
    ours.load_state_dict(theirs.state_dict())


def copy_attention(ours: Any, theirs: nn.MultiheadAttention) -> None:
    weight, bias = theirs.in_proj_weight.chunk(3), theirs.in_proj_bias.chunk(3)
    for linear, w, b in zip((ours.query, ours.key, ours.value), weight, bias, strict=True):
        linear.load_state_dict({"weight": w, "bias": b})
    copy(ours.output, theirs.out_proj)


def copy_feedforward_and_norms(ours: Any, theirs: Any, last_norm: str) -> None:
    copy(ours.feedforward.inner, theirs.linear1)
    copy(ours.feedforward.outer, theirs.linear2)
    copy(ours.attended.norm, theirs.norm1)
    copy(ours.transformed.norm, getattr(theirs, last_norm))


def final_norm(norm_order: str) -> nn.LayerNorm | None:
    return nn.LayerNorm(D) if norm_order == "pre" else None


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("norm_order", ["post", "pre"])
def test_transformer_encoder_equals_torchs(norm_order: str, activation: str) -> None:
    layer = nn.TransformerEncoderLayer(
        D, HEADS, WIDTH, 0.0, activation, batch_first=True, norm_first=norm_order == "pre"
    )
    theirs = nn.TransformerEncoder(layer, LAYERS, final_norm(norm_order), enable_nested_tensor=False)
    scramble(theirs)
    ours = TransformerEncoder(D, **settings(norm_order, activation)).eval()
    for mine, other in zip(ours.layers, theirs.layers, strict=True):
        copy_attention(mine.attention, other.self_attn)
        copy_feedforward_and_norms(mine, other, "norm2")
    if norm_order == "pre":
        copy(ours.norm, theirs.norm)
    x = torch.randn(B, S, D)
    expected: Tensor = theirs.train()(x, src_key_padding_mask=~SOURCE.keep)
    torch.testing.assert_close(ours(x, SOURCE)[SOURCE.keep], expected[SOURCE.keep], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("norm_order", ["post", "pre"])
def test_transformer_decoder_equals_torchs(norm_order: str, activation: str) -> None:
    layer = nn.TransformerDecoderLayer(
        D, HEADS, WIDTH, 0.0, activation, batch_first=True, norm_first=norm_order == "pre"
    )
    theirs = nn.TransformerDecoder(layer, LAYERS, final_norm(norm_order))
    scramble(theirs)
    ours = TransformerDecoder(D, **settings(norm_order, activation)).eval()
    for mine, other in zip(ours.layers, theirs.layers, strict=True):
        copy_attention(mine.attention, other.self_attn)
        copy_attention(mine.cross_attention, other.multihead_attn)
        copy(mine.crossed.norm, other.norm2)  # type: ignore[union-attr]
        copy_feedforward_and_norms(mine, other, "norm3")
    if norm_order == "pre":
        copy(ours.norm, theirs.norm)
    x, states = torch.randn(B, T, D), torch.randn(B, S, D)
    ahead = torch.ones(T, T, dtype=torch.bool).triu(1)
    expected: Tensor = theirs.train()(x, states, ahead, memory_key_padding_mask=~SOURCE.keep)
    state = ours.start(seqx.Memory(states, states, SOURCE), B, T)
    actual = ours(x, state, TARGET.keep)[0]
    torch.testing.assert_close(actual[TARGET.keep], expected[TARGET.keep], rtol=1e-5, atol=1e-5)
