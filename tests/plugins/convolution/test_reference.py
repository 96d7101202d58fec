"""ConvS2S compared with the formulas of Gehring et al. 2017, sections 3.1 to 3.4, element by element.

Letters in shapes: S source tokens, T target tokens, D = d_model, C channels.
"""

from functools import partial
from math import sqrt
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import seqx
from seqx_convolution import ConvolutionDecoder, ConvolutionEncoder
from seqx_convolution.weight_norm import WeightNormed
from seqx_transformer import Learned

S, T, D = 6, 5, 4
LAYOUT = seqx.Layout.of(torch.ones(1, S, dtype=torch.bool))


class DotProduct(seqx.Attention):
    """The attention of the paper, without projections and without scale."""

    def project(self, keys: Tensor, values: Tensor, positioned: seqx.Positioned) -> seqx.KeyValue:
        return seqx.KeyValue(keys, values, positioned.layout)

    def forward(
        self, queries: Tensor, positioned: seqx.Positioned, memory: seqx.KeyValue, mask: seqx.Mask
    ) -> Tensor:
        scores = queries @ memory.keys.mT
        hidden = ~mask.dense(positioned.layout, memory.layout)[:, 0]
        return scores.masked_fill(hidden, -1e9).softmax(-1) @ memory.values


def with_random_weights(module: nn.Module) -> Any:
    """Set all parameters to random values, also those whose initial value is 0."""
    for p in module.parameters():
        nn.init.normal_(p, 0.3, 0.5)
    return module.eval()


def row(map_: WeightNormed, o: int) -> Tensor:
    """Return the weights [I] of one output: g v / |v|."""
    v = map_.direction[o]
    return map_.length[o] * v / sqrt(sum(float(each) ** 2 for each in v))


def linear(map_: Any, x: Tensor) -> Tensor:
    """Return the output of a linear map at one position."""
    if isinstance(map_, nn.Identity):
        return x
    return torch.stack([row(map_, o) @ x + map_.bias[o] for o in range(len(map_.bias))])


def gated(layer: Any, window: list[Tensor]) -> Tensor:
    """Return v([A B]) = A sigmoid(B) of one window (section 3.2)."""
    y = linear(layer.convolution.map, torch.cat(window))
    a, b = y[: len(y) // 2], y[len(y) // 2 :]
    return a / (1 + torch.exp(-b))


def scaled_sum(x: Tensor, y: Tensor) -> Tensor:
    return (x + y) * sqrt(0.5)


def encode(encoder: Any, kernels: list[int], words: Tensor) -> Tensor:
    """Return the states [S, D] of one sentence's embeddings [S, D]."""
    table = encoder.embedded.positions.table
    h = [linear(encoder.enter, word + table[j]) for j, word in enumerate(words)]
    for layer, k in zip(encoder.layers, kernels, strict=True):
        zero = torch.zeros_like(h[0])
        before = (k - 1) // 2
        inside = {j + before: each for j, each in enumerate(h)}
        new = [gated(layer, [inside.get(j + i, zero) for i in range(k)]) for j in range(len(h))]
        h = [scaled_sum(y, linear(layer.shortcut, x)) for y, x in zip(new, h, strict=True)]
    return torch.stack([linear(encoder.leave, each) for each in h])


def decode(decoder: Any, kernels: list[int], words: Tensor, z: Tensor, e: Tensor) -> Tensor:
    """Return outputs [T, D] for target embeddings [T, D], source states z and embeddings e [S, D]."""
    m, table = len(z), decoder.embedded.positions.table
    g = [word + table[i] for i, word in enumerate(words)]
    values = scaled_sum(z, e + decoder.source.positions.table[:m])
    h = [linear(decoder.enter, each) for each in g]
    for layer, k in zip(decoder.layers, kernels, strict=True):
        padded = [torch.zeros_like(h[0])] * (k - 1) + h
        new = []
        for i in range(len(h)):
            y = gated(layer, padded[i : i + k])
            d = scaled_sum(linear(layer.look.query, y), g[i])
            scores = [torch.exp(d @ z[j]) for j in range(m)]
            c = sum((scores[j] / sum(scores) * values[j] for j in range(m)), torch.zeros(D))
            y = scaled_sum(y, linear(layer.look.output, c * m * sqrt(1 / m)))
            new.append(scaled_sum(y, linear(layer.shortcut, h[i])))
        h = new
    return torch.stack([linear(decoder.leave, each) for each in h])


@pytest.mark.parametrize("kernels", [[3, 3], [1, 5], [2, 4]])
@torch.no_grad()
def test_convolutional_encoder_follows_the_paper(kernels: list[int]) -> None:
    encoder = with_random_weights(
        ConvolutionEncoder(D, layers=2, width=[3, 5], kernel=kernels, positions=partial(Learned, limit=S))
    )
    x = torch.randn(1, S, D)
    torch.testing.assert_close(encoder(x, LAYOUT)[0], encode(encoder, kernels, x[0]))


@pytest.mark.parametrize("kernels", [[3, 3], [1, 5], [2, 4]])
@torch.no_grad()
def test_convolutional_decoder_follows_the_paper(kernels: list[int]) -> None:
    positions = partial(Learned, limit=8)
    decoder = with_random_weights(
        ConvolutionDecoder(
            D,
            layers=2,
            width=[3, 5],
            kernel=kernels,
            attention=DotProduct,
            positions=positions,
            source_positions=positions,
        )
    )
    x, z, e = torch.randn(1, T, D), torch.randn(1, S, D), torch.randn(1, S, D)
    actual, _ = decoder(x, decoder.start(seqx.Memory(z, e, LAYOUT), 1, T), None)
    torch.testing.assert_close(actual[0], decode(decoder, kernels, x[0], z[0], e[0]))


@torch.no_grad()
def test_convolutional_encoder_equals_conv1d() -> None:
    """Compare with torch's convolution and its weight normalisation."""
    c, k = 6, 3
    encoder = with_random_weights(ConvolutionEncoder(D, layers=3, width=c, kernel=k))
    x = torch.randn(1, S, D)
    h = encoder.enter(x).mT  # [1, C, S]
    for layer in encoder.layers:
        theirs = nn.utils.parametrizations.weight_norm(nn.Conv1d(c, 2 * c, k, padding="same"))
        map_ = layer.convolution.map
        theirs.parametrizations.weight.original0.copy_(map_.length[:, None, None])
        direction = map_.direction.view(2 * c, k, c).mT
        theirs.parametrizations.weight.original1.copy_(direction)
        assert theirs.bias is not None
        theirs.bias.copy_(map_.bias)
        h = (F.glu(theirs(h), 1) + h) * sqrt(0.5)
    torch.testing.assert_close(encoder(x, LAYOUT), encoder.leave(h.mT))
