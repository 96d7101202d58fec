"""Each attention compared with a plain implementation of its formula."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import seqx
from seqx_transformer import (
    AdditiveAttention,
    Alibi,
    GroupedQueryAttention,
    LinearAttention,
    MultiHeadAttention,
    MultiplicativeAttention,
    RestrictedAttention,
    Rotary,
    Shaw,
    TransformerDecoder,
    TransformerEncoder,
)

D, HEADS = 16, 4
LENGTHS = torch.tensor([150, 97])
LAYOUT = seqx.Layout.of(torch.arange(150) < LENGTHS[:, None])


def vectors(length: int = 150) -> Tensor:
    return torch.randn(2, length, D, generator=torch.Generator().manual_seed(1))


def outputs_of(
    attention: seqx.Attention, mask: seqx.Mask, encoding: seqx.PositionalEncoding | None = None
) -> Tensor:
    """Return the outputs of self-attention at the tokens, without padding."""
    positioned = seqx.Positioned(encoding or seqx.PositionalEncoding(D, HEADS), LAYOUT)
    x = vectors()
    mixed: Tensor = attention(x, positioned, attention.project(x, x, positioned), mask)
    return mixed[LAYOUT.keep]


def split(x: Tensor, heads: int = HEADS) -> Tensor:
    return x.view(*x.shape[:2], heads, -1).transpose(1, 2)


def expected_outputs(attention: MultiHeadAttention, scores: Tensor, values: Tensor) -> Tensor:
    """Return the outputs of softmax attention for scores [B, H, T, S]."""
    scores = scores.masked_fill(~LAYOUT.keep[:, None, None, :], -torch.inf)
    mixed = (scores.softmax(-1) @ values).transpose(1, 2).flatten(2)
    output: Tensor = attention.output(mixed)
    return output[LAYOUT.keep]


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("window", [1, 7, 32, 100])
@pytest.mark.parametrize("positions", [seqx.PositionalEncoding, Alibi, Shaw, Rotary])
def test_restricted_attention_equals_multi_head_attention_with_a_window(
    causal: bool, window: int, positions: seqx.Make[seqx.PositionalEncoding]
) -> None:
    encoding = positions(D, HEADS)
    restricted, full = RestrictedAttention(D, window=window, heads=HEADS), MultiHeadAttention(D, heads=HEADS)
    full.load_state_dict(restricted.state_dict())
    expected = outputs_of(full, seqx.Mask(causal=causal, window=window), encoding)
    torch.testing.assert_close(outputs_of(restricted, seqx.Mask(causal=causal), encoding), expected)
    narrower = seqx.Mask(causal=causal, window=min(window, 3))
    torch.testing.assert_close(
        outputs_of(restricted, narrower, encoding), outputs_of(full, narrower, encoding)
    )


def test_multi_head_attention_without_scale_equals_larger_queries() -> None:
    scaled, plain = MultiHeadAttention(D, heads=HEADS), MultiHeadAttention(D, heads=HEADS, scaled=False)
    plain.load_state_dict(scaled.state_dict())
    with torch.no_grad():
        scaled.query.weight.mul_((D / HEADS) ** 0.5)
    torch.testing.assert_close(outputs_of(scaled, seqx.Mask()), outputs_of(plain, seqx.Mask()))


def test_additive_attention_computes_bahdanaus_scores() -> None:
    attention, x = AdditiveAttention(D, heads=HEADS, d_k=5), vectors()
    q, k, v = (split(layer(x)) for layer in (attention.query, attention.key, attention.value))
    scores = torch.stack(
        [
            torch.einsum("bhsk,hk->bhs", (q[:, :, t, None] + k).tanh(), attention.score[:, 0])
            for t in range(q.size(2))
        ],
        2,
    )
    torch.testing.assert_close(outputs_of(attention, seqx.Mask()), expected_outputs(attention, scores, v))


@pytest.mark.parametrize("scaled", [True, False])
def test_multiplicative_attention_computes_luongs_general_scores(scaled: bool) -> None:
    attention, x = MultiplicativeAttention(D, scaled=scaled), vectors()
    scores = torch.einsum("btd,ed,bse->bts", x, attention.query.weight, x)[:, None]
    scores = scores / D**0.5 if scaled else scores
    values = split(attention.value(x), 1)
    torch.testing.assert_close(
        outputs_of(attention, seqx.Mask()), expected_outputs(attention, scores, values)
    )
    with pytest.raises(ValueError, match=r"heads \(3\) must divide d_model \(16\)"):
        MultiplicativeAttention(D, heads=3)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_grouped_query_attention_shares_keys_and_values(groups: int) -> None:
    grouped, full = GroupedQueryAttention(D, heads=HEADS, groups=groups), MultiHeadAttention(D, heads=HEADS)
    state = grouped.state_dict()
    for name in ("key.weight", "value.weight"):
        by_group = state[name].unflatten(0, (groups, -1))
        state[name] = by_group.repeat_interleave(HEADS // groups, 0).flatten(0, 1)
    full.load_state_dict(state)
    for encoding in (Rotary(D, HEADS), Shaw(D, HEADS), Alibi(D, HEADS)):
        for mask in (seqx.Mask(), seqx.Mask(causal=True)):
            torch.testing.assert_close(outputs_of(grouped, mask, encoding), outputs_of(full, mask, encoding))
    x = vectors()
    assert grouped.project(x, x, seqx.Positioned.unordered(LAYOUT)).keys.shape == (2, groups, 150, D // HEADS)
    with pytest.raises(ValueError, match=r"groups \(3\) must divide heads \(4\)"):
        GroupedQueryAttention(D, heads=HEADS, groups=3)


@pytest.mark.parametrize("causal", [True, False])
def test_linear_attention_computes_equation_7(causal: bool) -> None:
    attention, x = LinearAttention(D, heads=HEADS), vectors()
    q, k, v = (split(layer(x)) for layer in (attention.query, attention.key, attention.value))
    weights = (F.elu(q) + 1) @ (F.elu(k) + 1).mT * LAYOUT.keep[:, None, None, :]
    if causal:
        weights = weights.tril()
    mixed = (weights / weights.sum(-1, keepdim=True)) @ v
    expected = attention.output(mixed.transpose(1, 2).flatten(2))[LAYOUT.keep]
    torch.testing.assert_close(outputs_of(attention, seqx.Mask(causal=causal)), expected)
    windowed = outputs_of(attention, seqx.Mask(causal=causal, window=200))
    torch.testing.assert_close(windowed, expected)


@pytest.mark.isa
def test_linear_attention_sums_in_float32_under_autocast() -> None:
    """Linear maps run in bf16, sums over the sequence in float32."""
    attention, x = LinearAttention(D, heads=HEADS), vectors()
    with torch.autocast("cpu", torch.bfloat16):
        found = outputs_of(attention, seqx.Mask())
        q, k, v = (split(layer(x)) for layer in (attention.query, attention.key, attention.value))
        features, q = (F.elu(k) + 1).float() * LAYOUT.keep[:, None, :, None], (F.elu(q) + 1).float()
        with torch.autocast("cpu", enabled=False):
            mixed = (q @ (features.mT @ v.float())) / (q @ features.sum(-2)[..., None])
        expected = attention.output(mixed.transpose(1, 2).flatten(2))[LAYOUT.keep]
    assert expected.dtype == torch.bfloat16
    assert (found - expected).float().abs().mean() < 1e-5 * expected.float().abs().mean()


@pytest.mark.parametrize("positions", [Alibi, Shaw])
def test_linear_attention_refuses_encodings_that_add_to_scores(
    positions: seqx.Make[seqx.PositionalEncoding],
) -> None:
    linear = partial(LinearAttention, heads=HEADS)
    for stack in (TransformerEncoder, TransformerDecoder):
        with pytest.raises(ValueError, match="positions: this encoding adds to scores or values"):
            stack(D, attention=linear, positions=positions)
        stack(D, attention=linear, positions=Rotary)


ATTENTIONS: list[seqx.Make[MultiHeadAttention]] = [
    MultiHeadAttention,
    AdditiveAttention,
    MultiplicativeAttention,
    partial(GroupedQueryAttention, groups=2),
    partial(RestrictedAttention, window=7),
]


@pytest.mark.parametrize("make", ATTENTIONS)
@pytest.mark.parametrize("causal", [True, False])
def test_attention_weights_reproduce_the_output(make: seqx.Make[MultiHeadAttention], causal: bool) -> None:
    attention, x, mask = make(D, heads=HEADS), vectors(), seqx.Mask(causal=causal)
    positioned = seqx.Positioned(Alibi(D, HEADS), LAYOUT)
    memory = attention.project(x, x, positioned)
    weights = attention.weights(x, positioned, memory, mask)
    values = memory.values.repeat_interleave(HEADS // memory.values.size(1), 1)
    expected = attention.output((weights @ values).transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(x, positioned, memory, mask)[LAYOUT.keep], expected[LAYOUT.keep])


def test_restricted_attention_without_a_key_in_the_window_returns_zeros() -> None:
    attention, x = RestrictedAttention(D, window=3, heads=HEADS), vectors()
    far = seqx.Positioned.unordered(seqx.Layout(LAYOUT.keep, LAYOUT.positions + 500))
    memory = attention.project(x, x, seqx.Positioned.unordered(LAYOUT))
    assert not attention(x, far, memory, seqx.Mask()).count_nonzero()
    assert not attention.weights(x, far, memory, seqx.Mask()).count_nonzero()


def test_restricted_attention_is_refused_as_cross_attention() -> None:
    with pytest.raises(ValueError, match="works within one sequence; set another cross_attention"):
        TransformerDecoder(D, layers=1, attention=RestrictedAttention)
    assert TransformerDecoder(D, layers=1, attention=RestrictedAttention, use_source=False)
    with pytest.raises(ValueError, match="cross_attention is set without a source"):
        TransformerDecoder(D, layers=1, cross_attention=MultiHeadAttention, use_source=False)


def test_layers_of_a_stack_may_have_different_attentions() -> None:
    attentions: list[seqx.Make[seqx.Attention]] = [
        partial(RestrictedAttention, heads=HEADS, window=2),
        partial(GroupedQueryAttention, heads=HEADS, groups=2),
        AdditiveAttention,
    ]
    encoder = TransformerEncoder(D, layers=3, attention=attentions)
    decoder = TransformerDecoder(
        D, layers=3, attention=attentions[::-1], cross_attention=MultiplicativeAttention
    )
    x = vectors(9)
    layout = seqx.Layout.of(torch.ones(2, 9, dtype=torch.bool))
    memory = seqx.Memory(encoder(x, layout), x, layout)
    outputs, _ = decoder(x, decoder.start(memory, 2, None), None)
    assert outputs.shape == x.shape
