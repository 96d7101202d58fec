"""Attention that normalises queries and keys, so that their lengths have no influence, obeys the laws."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import seqx
from seqx_transformer import ScoredAttention
from tests.laws.conftest import Broken


class Cosine(ScoredAttention):
    """Cosine attention with a trained temperature (Henry et al. 2020, section 3)."""

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model, heads=2, scaled=False)
        self.temperature = nn.Parameter(torch.full((2, 1, 1), 10.0))

    def normalise(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=-1)

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        return self.temperature * self.normalise(q) @ self.normalise(k).mT


class LayerNormed(Cosine):
    """QK-norm with layer norms, which also subtract the mean (Dehghani et al. 2023, section 2)."""

    def normalise(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:])


class RmsNormed(Cosine):
    """QK-norm with RMS norms."""

    def normalise(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, x.shape[-1:])


class WithoutQueries(seqx.PositionalEncoding):
    """An encoding that leaves queries as they are."""

    def __init__(self, encoding: seqx.PositionalEncoding) -> None:
        super().__init__(encoding.d_model, encoding.heads)
        self.bias, self.values = encoding.bias, encoding.values  # type: ignore[method-assign]


class IgnoresPositions(Cosine):
    """A cosine attention that ignores the positions of queries."""

    def forward(
        self, queries: Tensor, positioned: seqx.Positioned, memory: seqx.KeyValue, mask: seqx.Mask
    ) -> Tensor:
        return super().forward(
            queries,
            positioned._replace(encoding=positioned.encoding and WithoutQueries(positioned.encoding)),
            memory,
            mask,
        )


@pytest.mark.parametrize("attention", [Cosine, LayerNormed, RmsNormed])
def test_normalising_attention_obeys_all_laws(broken: Broken, attention: Any) -> None:
    assert broken(seqx.Attention, attention, without="compiles") == set()


def test_normalising_attention_that_ignores_positions_breaks_the_law(broken: Broken) -> None:
    found = broken(seqx.Attention, IgnoresPositions, without="compiles")
    assert "positions_are_used_or_rejected" in found
