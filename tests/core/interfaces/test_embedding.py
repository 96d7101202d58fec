"""Scaled embeddings, and the smallest of several length limits."""

import math

import pytest
import torch

import seqx


@pytest.mark.parametrize(("scaled", "scale"), [(True, math.sqrt(64)), (False, 1.0)])
def test_scaled_embedding_multiplies_by_sqrt_d_model(scaled: bool, scale: float) -> None:
    embedding, ids = seqx.ScaledEmbedding(9, 64, scaled=scaled), torch.tensor([[3, 8]])
    assert embedding(ids).equal(embedding.weight[ids] * scale)
    outputs = torch.randn(2, 3, 64)
    torch.testing.assert_close(embedding.logits(outputs), outputs @ embedding.weight.T)


@pytest.mark.parametrize(("std", "expected"), [(None, 0.125), (0.5, 0.5)])
def test_scaled_embedding_starts_with_the_standard_deviation(std: float | None, expected: float) -> None:
    torch.manual_seed(0)
    embedding = seqx.ScaledEmbedding(2000, 64, std=std)
    assert embedding.weight.std().item() == pytest.approx(expected, rel=0.02)


def test_smallest_limit_ignores_none() -> None:
    assert seqx.smallest_limit(None, 9, 7) == 7
    assert seqx.smallest_limit(None, None) is None
    assert seqx.smallest_limit() is None
