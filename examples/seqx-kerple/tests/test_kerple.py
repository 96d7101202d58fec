"""Comparison of the biases with the formulas of the paper."""

import math

import pytest
import seqx
import torch

from seqx_kerple import Logarithmic, Power


def bias(encoding: seqx.PositionalEncoding, query: int, key: int) -> list[float]:
    vectors = torch.zeros(1, 2, 1, 4)
    result = encoding.bias(vectors, vectors, torch.tensor([[query]]), torch.tensor([[key]]))
    assert result is not None
    biases: list[float] = result[0, :, 0, 0].tolist()
    return biases


@pytest.mark.parametrize(("query", "key"), [(4, 1), (1, 4), (7, 7)])
def test_logarithmic_kernel_follows_the_paper(query: int, key: int) -> None:
    encoding = Logarithmic(8, 2)
    for head, found in enumerate(bias(encoding, query, key)):
        r1, r2 = math.exp(encoding.height[head].item()), math.exp(encoding.growth[head].item())
        assert found == pytest.approx(-r1 * math.log(1 + r2 * abs(query - key)), rel=1e-5)


@pytest.mark.parametrize(("query", "key"), [(4, 1), (1, 4), (7, 7)])
def test_power_kernel_follows_the_paper(query: int, key: int) -> None:
    encoding = Power(8, 2)
    for head, found in enumerate(bias(encoding, query, key)):
        r1, r2 = math.exp(encoding.height[head].item()), 2 / (1 + math.exp(-encoding.power[head].item()))
        assert 0 < r2 < 2
        assert found == pytest.approx(-r1 * abs(query - key) ** r2, rel=1e-5)
