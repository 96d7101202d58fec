"""Relative positional encodings against the formulas of their papers, entry by entry."""

import cmath
import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

import seqx
from seqx_transformer import (
    T5,
    Alibi,
    Combined,
    MultiHeadAttention,
    Rotary,
    Shaw,
    Sinusoidal,
    TransformerEncoder,
)

HEADS, WIDTH = 4, 6
PLACES = torch.tensor([[0, 1, 2, 5, 40, 300]])


def queries_and_keys() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(1, HEADS, 6, WIDTH), torch.randn(1, HEADS, 6, WIDTH)


def test_rotary_positions_equal_complex_rotation() -> None:
    q, _ = queries_and_keys()
    turned = Rotary(HEADS * WIDTH, HEADS).query(q, PLACES)
    planes = torch.view_as_complex(q.view(1, HEADS, 6, -1, 2))
    for i, place in enumerate(PLACES[0].tolist()):
        for plane in range(WIDTH // 2):
            expected = planes[0, :, i, plane] * cmath.exp(1j * place / 10000 ** (2 * plane / WIDTH))
            got = torch.view_as_complex(turned[0, :, i, 2 * plane : 2 * plane + 2].contiguous())
            torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)


def test_rotary_scores_depend_on_distances_only() -> None:
    q, k = queries_and_keys()
    rotary = Rotary(HEADS * WIDTH, HEADS)

    def scores(shift: int) -> Tensor:
        return rotary.query(q, PLACES + shift) @ rotary.key(k, PLACES + shift).mT

    torch.testing.assert_close(scores(0), scores(77), atol=1e-3, rtol=1e-3)
    assert (scores(0) - q @ k.mT).abs().max() > 0.5
    odd = torch.randn(1, 1, 6, 5)
    turned = Rotary(5, 1).query(odd, PLACES)
    torch.testing.assert_close(turned.norm(dim=-1), odd.norm(dim=-1))


def test_alibi_slopes_are_those_of_the_paper() -> None:
    q, k = (x[:, :1].expand(-1, 8, -1, -1) for x in queries_and_keys())
    bias = Alibi(32, 8).bias(q, k, PLACES, PLACES)
    assert (-bias[0, :, 1, 0]).tolist() == [2.0**-h for h in range(1, 9)]  # from 1/2 to 1/256
    assert bias[0, 0, 3].tolist() == [-2.5, -2.0, -1.5, 0.0, -17.5, -147.5]
    for heads in (1, 3, 6, 12):
        slopes = -Alibi(24, heads).bias(torch.zeros(1, heads, 6, 2), k, PLACES, PLACES)[0, :, 1, 0]
        assert len(set(slopes.tolist())) == heads
        assert slopes.max() < 1


@pytest.mark.parametrize("ahead", [True, False])
def test_t5_buckets_follow_the_paper(ahead: bool) -> None:
    q, k = queries_and_keys()
    encoding = T5(HEADS * WIDTH, HEADS, ahead=ahead)
    bias = encoding.bias(q, k, PLACES, PLACES)

    def bucket(offset: int) -> int:
        each = 16 if ahead else 32
        first = each if ahead and offset > 0 else 0
        distance = abs(offset) if ahead else max(-offset, 0)
        if distance < each // 2:
            return first + distance
        share = math.log(distance / (each // 2)) / math.log(128 / (each // 2))
        return first + min(each // 2 + int(share * (each - each // 2)), each - 1)

    for i, one in enumerate(PLACES[0].tolist()):
        for j, other in enumerate(PLACES[0].tolist()):
            assert bias[0, :, i, j].tolist() == encoding.table[bucket(other - one)].tolist()


def test_t5_refuses_buckets_that_do_not_fit_the_distances() -> None:
    with pytest.raises(ValueError, match="3 buckets do not fit distances up to 128; use at least 4 buckets"):
        T5(16, 4, buckets=3)
    with pytest.raises(ValueError, match="a farthest above 16"):
        T5(16, 4, buckets=64, farthest=8)


def test_shaw_positions_add_to_keys_and_values() -> None:
    q, k = queries_and_keys()
    encoding = Shaw(HEADS * WIDTH, HEADS, farthest=3)
    weights = torch.rand(1, HEADS, 6, 6)
    bias, values = encoding.bias(q, k, PLACES, PLACES), encoding.values(weights, PLACES, PLACES)
    places = PLACES[0].tolist()
    for i, one in enumerate(places):
        told = [max(-3, min(3, other - one)) + 3 for other in places]
        torch.testing.assert_close(bias[0, :, i], q[0, :, i] @ encoding.keys[told].T)
        torch.testing.assert_close(values[0, :, i], weights[0, :, i] @ encoding.weighed[told])


def test_shaw_positions_need_the_width_of_the_heads() -> None:
    layout = seqx.Layout.of(torch.ones(1, 6, dtype=torch.bool))
    attention = MultiHeadAttention(16, heads=4, d_k=3, d_v=5)
    x = torch.randn(1, 6, 16)

    def attended(positions: seqx.PositionalEncoding) -> Tensor:
        positioned = seqx.Positioned(positions, layout)
        mixed: Tensor = attention(x, positioned, attention.project(x, x, positioned), seqx.Mask())
        return mixed

    assert attended(Shaw(16, 4, d_k=3, d_v=5)).shape == x.shape
    with pytest.raises(ValueError, match="set d_k of shaw to the attention's"):
        attended(Shaw(16, 4))
    with pytest.raises(ValueError, match=r"heads \(3\) must divide d_model \(16\)"):
        Shaw(16, 3)


def test_combined_positions_apply_each_encoding() -> None:
    q, k = queries_and_keys()
    parts: list[seqx.Make[seqx.PositionalEncoding]] = [Sinusoidal, Rotary, Alibi, Shaw]
    torch.manual_seed(3)
    several = Combined(HEADS * WIDTH, HEADS, encodings=parts)
    torch.manual_seed(3)
    sinusoidal, rotary, alibi, shaw = (make(HEADS * WIDTH, HEADS) for make in parts)
    x = torch.randn(1, 6, HEADS * WIDTH)
    assert torch.equal(several.embed(x, PLACES), sinusoidal.embed(x, PLACES))
    assert torch.equal(several.query(q, PLACES), rotary.query(q, PLACES))
    assert torch.equal(several.key(k, PLACES), rotary.key(k, PLACES))
    arguments = q, k, PLACES, PLACES
    penalties, products = alibi.bias(*arguments), shaw.bias(*arguments)
    assert penalties is not None
    assert products is not None
    torch.testing.assert_close(several.bias(*arguments), penalties + products)
    weights = torch.rand(1, HEADS, 6, 6)
    torch.testing.assert_close(several.values(weights, PLACES, PLACES), shaw.values(weights, PLACES, PLACES))
    assert several.has_value_term
    assert not Combined(24, 4, encodings=[Sinusoidal, Alibi]).has_value_term
    assert Combined(24, 4, encodings=[Sinusoidal]).values(weights, PLACES, PLACES) is None


@pytest.mark.parametrize(
    ("widths", "told"),
    [({"d_k": 2}, "set d_k of shaw to the attention's, 2"), ({"d_v": 3}, "to the attention's, 3")],
)
@pytest.mark.parametrize("positions", [Shaw, partial(Combined, encodings=[Sinusoidal, Shaw])])
def test_shaw_vectors_of_another_width_are_refused_when_a_stack_is_built(
    positions: seqx.Make[seqx.PositionalEncoding], widths: dict[str, Any], told: str
) -> None:
    attention = partial(MultiHeadAttention, heads=2, **widths)
    with pytest.raises(ValueError, match=told):
        TransformerEncoder(16, layers=1, attention=attention, positions=positions)
    fitting = partial(Shaw, **widths)
    TransformerEncoder(16, layers=1, attention=attention, positions=fitting)


def test_combined_positions_need_at_least_one_encoding() -> None:
    with pytest.raises(ValueError, match="encodings is empty"):
        Combined(16, 2, encodings=[])
