"""Relative positional encodings compared with the formulas of their papers, element by element."""

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
POSITIONS = torch.tensor([[0, 1, 2, 5, 40, 300]])


def queries_and_keys() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(1, HEADS, 6, WIDTH), torch.randn(1, HEADS, 6, WIDTH)


def test_rotary_positions_equal_complex_rotation() -> None:
    q, _ = queries_and_keys()
    rotated = Rotary(HEADS * WIDTH, HEADS).query(q, POSITIONS)
    pairs = torch.view_as_complex(q.view(1, HEADS, 6, -1, 2))
    for i, position in enumerate(POSITIONS[0].tolist()):
        for pair in range(WIDTH // 2):
            expected = pairs[0, :, i, pair] * cmath.exp(1j * position / 10000 ** (2 * pair / WIDTH))
            found = torch.view_as_complex(rotated[0, :, i, 2 * pair : 2 * pair + 2].contiguous())
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_rotary_scores_depend_on_distances_only() -> None:
    q, k = queries_and_keys()
    rotary = Rotary(HEADS * WIDTH, HEADS)

    def scores(shift: int) -> Tensor:
        return rotary.query(q, POSITIONS + shift) @ rotary.key(k, POSITIONS + shift).mT

    torch.testing.assert_close(scores(0), scores(77), atol=1e-3, rtol=1e-3)
    assert (scores(0) - q @ k.mT).abs().max() > 0.5
    odd = torch.randn(1, 1, 6, 5)
    rotated = Rotary(5, 1).query(odd, POSITIONS)
    torch.testing.assert_close(rotated.norm(dim=-1), odd.norm(dim=-1))


def test_alibi_slopes_are_those_of_the_paper() -> None:
    q, k = (x[:, :1].expand(-1, 8, -1, -1) for x in queries_and_keys())
    bias = Alibi(32, 8).bias(q, k, POSITIONS, POSITIONS)
    assert (-bias[0, :, 1, 0]).tolist() == [2.0**-h for h in range(1, 9)]  # from 1/2 to 1/256
    assert bias[0, 0, 3].tolist() == [-2.5, -2.0, -1.5, 0.0, -17.5, -147.5]
    for heads in (1, 3, 6, 12):
        slopes = -Alibi(24, heads).bias(torch.zeros(1, heads, 6, 2), k, POSITIONS, POSITIONS)[0, :, 1, 0]
        assert len(set(slopes.tolist())) == heads
        assert slopes.max() < 1


@pytest.mark.parametrize("ahead", [True, False])
def test_t5_buckets_follow_the_paper(ahead: bool) -> None:
    q, k = queries_and_keys()
    encoding = T5(HEADS * WIDTH, HEADS, ahead=ahead)
    bias = encoding.bias(q, k, POSITIONS, POSITIONS)

    def bucket(offset: int) -> int:
        per_direction = 16 if ahead else 32
        exact = per_direction // 2
        first = per_direction if ahead and offset > 0 else 0
        distance = abs(offset) if ahead else max(-offset, 0)
        if distance < exact:
            return first + distance
        fraction = math.log(distance / exact) / math.log(128 / exact)
        return first + min(exact + int(fraction * (per_direction - exact)), per_direction - 1)

    for i, query in enumerate(POSITIONS[0].tolist()):
        for j, key in enumerate(POSITIONS[0].tolist()):
            assert bias[0, :, i, j].tolist() == encoding.table[bucket(key - query)].tolist()


def test_t5_refuses_buckets_that_do_not_fit_the_distances() -> None:
    with pytest.raises(
        ValueError, match="3 buckets do not fit distances up to 128; set buckets to 4 or more"
    ):
        T5(16, 4, buckets=3)
    with pytest.raises(ValueError, match="farthest to more than 16"):
        T5(16, 4, buckets=64, farthest=8)


def test_shaw_positions_add_to_keys_and_values() -> None:
    q, k = queries_and_keys()
    encoding = Shaw(HEADS * WIDTH, HEADS, farthest=3)
    weights = torch.rand(1, HEADS, 6, 6)
    bias, values = encoding.bias(q, k, POSITIONS, POSITIONS), encoding.values(weights, POSITIONS, POSITIONS)
    positions = POSITIONS[0].tolist()
    for i, query in enumerate(positions):
        indices = [max(-3, min(3, key - query)) + 3 for key in positions]
        torch.testing.assert_close(bias[0, :, i], q[0, :, i] @ encoding.keys[indices].T)
        torch.testing.assert_close(values[0, :, i], weights[0, :, i] @ encoding.weighed[indices])


def test_shaw_positions_need_the_widths_of_the_attention_heads() -> None:
    layout = seqx.Layout.of(torch.ones(1, 6, dtype=torch.bool))
    attention = MultiHeadAttention(16, heads=4, d_k=3, d_v=5)
    x = torch.randn(1, 6, 16)

    def attention_outputs(positions: seqx.PositionalEncoding) -> Tensor:
        positioned = seqx.Positioned(positions, layout)
        mixed: Tensor = attention(x, positioned, attention.project(x, x, positioned), seqx.Mask())
        return mixed

    assert attention_outputs(Shaw(16, 4, d_k=3, d_v=5)).shape == x.shape
    with pytest.raises(ValueError, match="set d_k of shaw to 3"):
        attention_outputs(Shaw(16, 4))
    with pytest.raises(ValueError, match=r"heads \(3\) must divide d_model \(16\)"):
        Shaw(16, 3)


def test_combined_positions_apply_each_encoding() -> None:
    q, k = queries_and_keys()
    parts: list[seqx.Make[seqx.PositionalEncoding]] = [Sinusoidal, Rotary, Alibi, Shaw]
    torch.manual_seed(3)
    combined = Combined(HEADS * WIDTH, HEADS, encodings=parts)
    torch.manual_seed(3)
    sinusoidal, rotary, alibi, shaw = (make(HEADS * WIDTH, HEADS) for make in parts)
    x = torch.randn(1, 6, HEADS * WIDTH)
    assert torch.equal(combined.embed(x, POSITIONS), sinusoidal.embed(x, POSITIONS))
    assert torch.equal(combined.query(q, POSITIONS), rotary.query(q, POSITIONS))
    assert torch.equal(combined.key(k, POSITIONS), rotary.key(k, POSITIONS))
    arguments = q, k, POSITIONS, POSITIONS
    penalties, products = alibi.bias(*arguments), shaw.bias(*arguments)
    assert penalties is not None
    assert products is not None
    torch.testing.assert_close(combined.bias(*arguments), penalties + products)
    weights = torch.rand(1, HEADS, 6, 6)
    torch.testing.assert_close(
        combined.values(weights, POSITIONS, POSITIONS), shaw.values(weights, POSITIONS, POSITIONS)
    )
    assert combined.has_value_term
    assert not Combined(24, 4, encodings=[Sinusoidal, Alibi]).has_value_term
    assert Combined(24, 4, encodings=[Sinusoidal]).values(weights, POSITIONS, POSITIONS) is None


@pytest.mark.parametrize(
    ("widths", "message"),
    [({"d_k": 2}, "set d_k of shaw to 2"), ({"d_v": 3}, "set d_v of shaw to 3")],
)
@pytest.mark.parametrize("positions", [Shaw, partial(Combined, encodings=[Sinusoidal, Shaw])])
def test_shaw_vectors_of_another_width_are_refused_when_a_stack_is_built(
    positions: seqx.Make[seqx.PositionalEncoding], widths: dict[str, Any], message: str
) -> None:
    attention = partial(MultiHeadAttention, heads=2, **widths)
    with pytest.raises(ValueError, match=message):
        TransformerEncoder(16, layers=1, attention=attention, positions=positions)
    fitting = partial(Shaw, **widths)
    TransformerEncoder(16, layers=1, attention=attention, positions=fitting)


def test_combined_positions_need_at_least_one_encoding() -> None:
    with pytest.raises(ValueError, match="encodings is empty"):
        Combined(16, 2, encodings=[])
