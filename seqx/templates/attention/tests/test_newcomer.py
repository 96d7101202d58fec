"""Compare the component with its formula."""

import pytest
import seqx
import torch
import torch.nn.functional as F

from seqx_newcomer import Newcomer


def test_scores_are_scaled_cosines() -> None:
    torch.manual_seed(0)
    attention = Newcomer(8, heads=1, scale=3.0)
    x = torch.randn(1, 5, 8)
    positioned = seqx.Positioned.unordered(seqx.Layout.of(torch.ones(1, 5, dtype=torch.bool)))
    outputs = attention(x, positioned, attention.project(x, x, positioned), seqx.Mask())
    q, k, v = attention.query(x[0]), attention.key(x[0]), attention.value(x[0])
    for t in range(5):
        cosines = torch.stack([F.cosine_similarity(q[t], k[s], dim=0) for s in range(5)])
        mixed = sum(weight * value for weight, value in zip((3 * cosines).softmax(0), v, strict=True))
        torch.testing.assert_close(outputs[0, t], attention.output(mixed))


def test_heads_must_divide_d_model() -> None:
    with pytest.raises(ValueError, match=r"heads \(3\) must divide d_model \(8\)"):
        Newcomer(8, heads=3)
