"""Each part of the Transformer alone."""

import math
from functools import partial
from typing import Any, Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import seqx
from seqx_transformer import (
    GELU,
    Combined,
    Convolutions,
    DeepNorm,
    DepthScaled,
    Gated,
    Kaiming,
    LayerNorm,
    Learned,
    MultiHeadAttention,
    Normal,
    ReLU,
    RMSNorm,
    Shaw,
    Sinusoidal,
    TransformerDecoder,
    TransformerEncoder,
    Xavier,
)
from seqx_transformer.layers import Dropout, Residual


def test_sinusoidal_positions_follow_the_paper() -> None:
    d_model, length = 512, 60
    table = Sinusoidal(d_model, 8).embed(torch.zeros(1, length, d_model), torch.arange(length)[None])[0]
    for pos in (0, 1, 7, 59):
        for i in (0, 1, 100, 255):
            angle = pos / 10000 ** (2 * i / d_model)
            assert table[pos, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-5)
            assert table[pos, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-5)


def test_sinusoidal_positions_refuse_an_odd_d_model() -> None:
    with pytest.raises(ValueError, match="even d_model, not 7"):
        Sinusoidal(7, 1)


def test_learned_positions_limit_the_length_of_a_stack() -> None:
    positions = partial(Learned, limit=9)
    assert TransformerEncoder(16, layers=1, positions=positions).limit == 9
    assert TransformerDecoder(16, layers=1, positions=positions).limit == 9
    assert TransformerDecoder(16, layers=1).limit is None


def test_feedforward_convolutions_equal_linear_maps() -> None:
    convolutions, maps = Convolutions(8, width=24), ReLU(8, width=24)
    for module in (convolutions, maps):
        torch.manual_seed(1)
        Xavier()(seqx.Layers([module]))
    theirs, ours = maps.state_dict(), convolutions.state_dict()
    assert all(torch.equal(ours[name].reshape(value.shape), value) for name, value in theirs.items())
    x = torch.randn(3, 5, 8)
    torch.testing.assert_close(convolutions(x), maps(x))


def test_heads_must_divide_d_model() -> None:
    with pytest.raises(ValueError, match=r"heads \(3\) must divide d_model \(16\)"):
        MultiHeadAttention(16, heads=3, d_k=4)
    attention = MultiHeadAttention(16, heads=3, d_k=4, d_v=7)
    assert attention.key.weight.shape == (12, 16)
    assert attention.value.weight.shape == (21, 16)
    assert attention.output.weight.shape == (16, 21)


@pytest.mark.parametrize("d_k", [4, 64])
def test_scores_are_divided_by_sqrt_d_k(d_k: int) -> None:
    """One head, written out as in section 3.2.1 of the paper."""
    attention, x = MultiHeadAttention(8, heads=1, d_k=d_k, d_v=5), torch.randn(1, 6, 8)
    positioned = seqx.Positioned.unordered(seqx.Layout.of(torch.ones(1, 6, dtype=torch.bool)))
    q, k, v = attention.query(x), attention.key(x), attention.value(x)
    expected = attention.output((q @ k.mT / math.sqrt(d_k)).softmax(-1) @ v)
    actual = attention(x, positioned, attention.project(x, x, positioned), seqx.Mask())
    torch.testing.assert_close(actual, expected)


class QueryDependent(seqx.PositionalEncoding):
    """Uses queries and attention weights, as relative positions do (Shaw et al. 2018)."""

    def bias(self, q: Tensor, k: Tensor, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        return q.sum(-1, keepdim=True) * (q_positions[:, None, :, None] - k_positions[:, None, None, :])

    def values(self, weights: Tensor, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        return (weights * k_positions[:, None, None, :]).sum(-1, keepdim=True)


def test_encoding_can_add_to_scores_and_values() -> None:
    attention, x = MultiHeadAttention(8, heads=1, d_k=4, d_v=5), torch.randn(1, 6, 8)
    positioned = seqx.Positioned(QueryDependent(8, 1), seqx.Layout.of(torch.ones(1, 6, dtype=torch.bool)))
    q, k, v = attention.query(x) / 2, attention.key(x), attention.value(x)
    distance = torch.arange(6)[:, None] - torch.arange(6)
    weights = (q @ k.mT + q.sum(-1, keepdim=True) * distance).softmax(-1)
    expected = attention.output(weights @ v + (weights * torch.arange(6)).sum(-1, keepdim=True))
    actual = attention(x, positioned, attention.project(x, x, positioned), seqx.Mask())
    torch.testing.assert_close(actual, expected)


def test_list_of_attentions_sets_one_per_layer() -> None:
    attentions: list[Any] = [partial(MultiHeadAttention, heads=2), partial(MultiHeadAttention, heads=4)]
    decoder = TransformerDecoder(
        16, layers=2, attention=attentions, cross_attention=partial(MultiHeadAttention, heads=1)
    )
    assert [layer.attention.heads for layer in decoder.layers] == [2, 4]
    assert [layer.cross_attention.heads for layer in decoder.layers if layer.cross_attention] == [1, 1]
    for stack in (TransformerEncoder, TransformerDecoder):
        with pytest.raises(ValueError, match="attention: 2 values for 3 layers"):
            stack(16, layers=3, attention=attentions)


def test_decoder_without_source_gives_the_same_outputs_token_by_token() -> None:
    decoder = TransformerDecoder(16, layers=2, use_source=False).eval()
    x = torch.randn(3, 5, 16)
    whole, _ = decoder(x, decoder.start(None, 3, None), None)
    state = decoder.start(None, 3, None)
    for t in range(5):
        part, state = decoder(x[:, t : t + 1], state, None)
        torch.testing.assert_close(part, whole[:, t : t + 1])


def test_layers_with_different_heads_share_learned_positions() -> None:
    attentions: list[Any] = [partial(MultiHeadAttention, heads=2), partial(MultiHeadAttention, heads=4)]
    encoder = TransformerEncoder(16, layers=2, attention=attentions, positions=Learned)
    tables = list(encoder.positions.parameters())
    assert [table.shape for table in tables] == [(512, 16)]
    combined = partial(Combined, encodings=[Learned, Shaw])
    assert TransformerEncoder(16, layers=2, attention=attentions[0], positions=combined)
    with pytest.raises(ValueError, match="set the same number of heads in all layers, not 2 and 4"):
        TransformerEncoder(16, layers=2, attention=attentions, positions=combined)


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5])
def test_dropout_keeps_the_mean_and_drops_with_probability_p(p: float) -> None:
    x = torch.ones(400, 1003, requires_grad=True)
    y = Dropout(p)(x)
    assert y.mean().item() == pytest.approx(1, abs=0.01)
    assert (y == 0).float().mean().item() == pytest.approx(p, abs=0.005)
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.equal(y)
    assert Dropout(p).eval()(x) is x


def test_dropout_mask_depends_on_the_seed_and_changes_each_time() -> None:
    x, drop = torch.ones(64, 64), Dropout(0.4)
    torch.manual_seed(5)
    first, second = drop(x), drop(x)
    torch.manual_seed(5)
    assert drop(x).equal(first)
    assert not second.equal(first)


@pytest.mark.parametrize(("stack", "sums"), [(TransformerEncoder, 5), (TransformerDecoder, 7)])
def test_dropout_is_applied_where_section_5_4_says(stack: Any, sums: int) -> None:
    """Dropout applies to the output of each sub-layer and to the embeddings, not inside sub-layers."""
    built = stack(16, layers=2, dropout=0.25)
    probabilities = sorted(module.p for module in built.modules() if isinstance(module, Dropout))
    assert probabilities[-sums:] == [0.25] * sums
    assert not any(probabilities[:-sums])


def test_feedforward_networks_follow_their_formulas() -> None:
    x = torch.randn(2, 3, 8)
    for network, function in ((ReLU, F.relu), (GELU, F.gelu)):
        layer = network(8, width=12)
        torch.testing.assert_close(layer(x), layer.outer(function(layer.inner(x))))
    for name, gate in (("silu", F.silu), ("gelu", F.gelu)):
        gated = Gated(8, width=12, activation=name)  # type: ignore[arg-type]
        torch.testing.assert_close(gated(x), gated.outer(gate(gated.gate(x)) * gated.inner(x)))


def test_norms_follow_their_formulas() -> None:
    x = torch.randn(2, 3, 8) * 3 + 1
    centred = x - x.mean(-1, keepdim=True)
    torch.testing.assert_close(LayerNorm(8)(x), centred / x.std(-1, keepdim=True, correction=0))
    torch.testing.assert_close(RMSNorm(8)(x), x / x.square().mean(-1, keepdim=True).sqrt())


def test_initialisations_set_all_linear_maps() -> None:
    layers: seqx.Layers[nn.Module] = seqx.Layers([nn.Linear(300, 500), nn.Linear(500, 300)])
    first, second = (layers[i].get_parameter("weight") for i in (0, 1))
    Xavier(gain=0.5)(layers)
    assert first.abs().max().item() == pytest.approx(0.5 * math.sqrt(6 / 800), rel=0.01)
    Normal(std=0.05)(layers)
    assert second.std().item() == pytest.approx(0.05, rel=0.02)
    Kaiming(gain=0.5)(layers)
    assert [p.std().item() for p in (first, second)] == pytest.approx(
        [0.5 * math.sqrt(2 / 300), 0.5 * math.sqrt(2 / 500)], rel=0.02
    )
    assert not any(layer.get_parameter("bias").count_nonzero() for layer in layers)


def test_kaiming_initialisation_keeps_the_variance_through_relus() -> None:
    torch.manual_seed(0)
    layers: seqx.Layers[nn.Linear] = seqx.Layers([nn.Linear(256, 256) for _ in range(20)])
    Kaiming()(layers)
    x = torch.randn(200, 256)
    with torch.no_grad():
        for layer in layers:
            x = layer(x).relu()
    # He et al. 2015: each layer's input has the mean square of the first layer's input.
    assert 0.3 < x.square().mean().item() < 3


def test_depth_scaled_initialisation_divides_by_the_root_of_the_layer_number() -> None:
    """Weights of layer l are uniform in +- a g / sqrt(l), with gain a and Xavier's bound g."""
    torch.manual_seed(0)
    encoder = TransformerEncoder(64, layers=4, initialisation=partial(DepthScaled, gain=0.9))
    for number, layer in enumerate(encoder.layers, 1):
        maps = [part for part in layer.modules() if isinstance(part, nn.Linear)]
        assert len(maps) == 6
        for linear in maps:
            bound = 0.9 * math.sqrt(6 / (linear.in_features + linear.out_features) / number)
            assert 0.98 * bound < linear.weight.abs().max().item() <= bound
            assert linear.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.03)
            assert linear.bias is None or not linear.bias.count_nonzero()


def test_deepnorm_initialisation_does_not_scale_queries_and_keys() -> None:
    """The gain of feed-forward, value and output weights is beta, that of query and key weights 1."""
    torch.manual_seed(0)
    decoder = TransformerDecoder(64, layers=2, initialisation=partial(DeepNorm, beta=0.3))
    count = 0
    for name, linear in decoder.layers.named_modules():
        if isinstance(linear, nn.Linear):
            gain = 1.0 if name.endswith((".query", ".key")) else 0.3
            bound = gain * math.sqrt(6 / (linear.in_features + linear.out_features))
            assert 0.98 * bound < linear.weight.abs().max().item() <= bound, name
            count += 1
    assert count == 2 * (4 + 4 + 2)


@pytest.mark.parametrize("order", ["post", "pre"])
def test_residual_connection_is_scaled(order: Literal["post", "pre"]) -> None:
    """DeepNorm: LayerNorm(alpha x + f(x))."""
    torch.manual_seed(0)
    residual, x = Residual(LayerNorm, 8, order, 0.5, scale=1.7).eval(), torch.randn(2, 3, 8)
    found = residual(x, torch.tanh(residual.sublayer_input(x)))
    if order == "post":
        torch.testing.assert_close(found, F.layer_norm(1.7 * x + torch.tanh(x), (8,)))
    else:
        torch.testing.assert_close(found, 1.7 * x + torch.tanh(F.layer_norm(x, (8,))))


@pytest.mark.isa
def test_residual_stream_is_bfloat16_under_autocast() -> None:
    seen: list[torch.dtype] = []
    encoder = TransformerEncoder(16, layers=2)
    for layer in encoder.layers:
        layer.register_forward_hook(lambda _, __, output: seen.append(output.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        encoder(torch.randn(2, 3, 16), seqx.Layout.of(torch.ones(2, 3, dtype=torch.bool)))
    assert seen == [torch.bfloat16] * 2


# The compiler itself reads .grad of a layer's inputs.
@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_each_layer_compiles_in_one_graph() -> None:
    """The trainer compiles each layer; all layers of a stack use the same graph."""
    encoder, decoder = TransformerEncoder(16, layers=1).eval(), TransformerDecoder(16, layers=1).eval()
    layout = seqx.Layout.of(torch.arange(6) < torch.tensor([6, 3])[:, None])
    x = torch.randn(2, 6, 16)

    def run() -> Tensor:
        memory = seqx.Memory(encoder(x, layout), x, layout)
        return decoder(x, decoder.start(memory, 2, 6), layout.keep)[0]

    expected = run()
    torch.compiler.reset()
    for layer in (*encoder.layers, *decoder.layers):
        layer.compile(backend="eager", fullgraph=True)
    torch.testing.assert_close(run(), expected)
    with torch.compiler.set_stance("fail_on_recompile"):
        torch.testing.assert_close(run(), expected)
    torch.compiler.reset()
