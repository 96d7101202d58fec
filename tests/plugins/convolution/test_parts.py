"""Weight normalisation, variance, receptive fields and settings of ConvS2S."""

from functools import partial
from math import sqrt
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import seqx
from seqx_convolution import ConvolutionDecoder, ConvolutionEncoder
from seqx_convolution.attention import scale_gradient
from seqx_convolution.weight_norm import WeightNormed
from seqx_transformer import Combined, Learned, MultiHeadAttention, Rotary, Sinusoidal

ATTENTION = partial(MultiHeadAttention, heads=1)
SOURCE = seqx.Layout.of(torch.arange(6) < torch.tensor([6, 3])[:, None])


def decoder(d_model: int = 16, **settings: Any) -> ConvolutionDecoder:
    small: dict[str, Any] = {"layers": 2, "width": 16, "attention": ATTENTION}
    return ConvolutionDecoder(d_model, **(small | settings)).eval()


def test_weight_norm_separates_length_and_direction() -> None:
    """The norm of the direction has no effect, and the gradient of the direction is orthogonal to it."""
    map_, x = WeightNormed(5, 7), torch.randn(3, 5)
    expected = map_(x)
    torch.testing.assert_close(expected, x @ map_.direction.T)  # the initial weights are the directions
    with torch.no_grad():
        map_.direction.mul_(3)
    torch.testing.assert_close(map_(x), expected)
    map_(x).square().sum().backward()
    assert map_.direction.grad is not None
    torch.testing.assert_close(
        (map_.direction.grad * map_.direction).sum(1), torch.zeros(7), rtol=0, atol=1e-5
    )


def test_cached_weight_follows_its_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    """The weight is computed once for a search, and again after any change of a parameter."""
    map_, x = WeightNormed(5, 7).eval(), torch.randn(3, 5)
    computations, formula = [0], vars(WeightNormed)["weight"].fget

    def counted(self: WeightNormed) -> Any:
        computations[0] += 1
        return formula(self)

    monkeypatch.setattr(WeightNormed, "weight", property(counted))

    @torch.no_grad()
    def check(times: int) -> None:
        computations[0] = 0
        actual = (map_(x), map_(x))
        assert computations[0] == times
        expected = x @ formula(map_).T + map_.bias
        torch.testing.assert_close(actual, (expected, expected))

    check(1)
    check(0)
    optimizer = torch.optim.Adam(map_.parameters(), lr=0.1, fused=True)
    map_(x).square().sum().backward()
    optimizer.step()
    check(1)
    map_.load_state_dict(WeightNormed(5, 7).state_dict())
    check(1)
    map_.load_state_dict(WeightNormed(5, 7).state_dict(), assign=True)
    check(1)
    map_.train()
    check(2)
    map_.length.data *= 2
    map_.eval()
    check(1)
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        assert map_(x).dtype == torch.bfloat16
    check(1)
    computations[0] = 0
    assert map_(x).requires_grad
    assert computations[0] == 1


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_weight_norm_initialisation_follows_section_3_5(dropout: float, gated: bool) -> None:
    map_ = WeightNormed(600, 800, dropout=dropout, gated=gated)
    factor = 4 if gated else 1
    assert map_.weight.std().item() == pytest.approx(sqrt(factor * (1 - dropout) / 600), rel=0.01)
    assert not map_.bias.count_nonzero()


def test_convolutional_stacks_keep_the_variance() -> None:
    """Sections 3.4 and 3.5 assume gates near 1/2. Embeddings must be small for this."""
    torch.manual_seed(1)
    x, states, inputs = (0.14 * torch.randn(4, 50, 64) for _ in range(3))
    memory = seqx.Memory(states, inputs, no_padding(4, 50))
    encoder = ConvolutionEncoder(64, layers=15, width=64, dropout=0)
    built_decoder = decoder(64, layers=15, width=64, dropout=0)
    assert 0.7 < encoder(x, no_padding(4, 50)).std() / x.std() < 1.4
    assert 0.7 < built_decoder(x, built_decoder.start(memory, 4, 50), None)[0].std() / x.std() < 1.4


def no_padding(sentences: int, length: int) -> seqx.Layout:
    """Return the layout of a batch without padding."""
    return seqx.Layout.of(torch.ones(sentences, length, dtype=torch.bool))


@pytest.mark.parametrize(
    ("kernel", "first", "last"), [(3, 6, 14), (1, 10, 10), ([3, 1, 5, 1], 7, 13), (4, 6, 18)]
)
def test_convolutional_encoder_depends_only_on_its_receptive_field(
    kernel: Any, first: int, last: int
) -> None:
    encoder = ConvolutionEncoder(8, layers=4, width=8, kernel=kernel).eval()
    x = torch.randn(1, 25, 8, requires_grad=True)
    (gradient,) = torch.autograd.grad(encoder(x, no_padding(1, 25))[0, 10].sum(), x)
    (positions,) = gradient[0].abs().sum(1).nonzero(as_tuple=True)
    assert (int(positions[0]), int(positions[-1])) == (first, last)
    assert len(positions) == last - first + 1


def test_convolutional_decoder_depends_only_on_its_receptive_field() -> None:
    built_decoder = decoder(layers=3, kernel=[3, 1, 4], attention=None)
    x = torch.randn(1, 12, 16, requires_grad=True)
    (gradient,) = torch.autograd.grad(
        built_decoder(x, built_decoder.start(None, 1, None), None)[0][0, 9].sum(), x
    )
    assert gradient[0].abs().sum(1).nonzero().flatten().tolist() == [4, 5, 6, 7, 8, 9]


def test_gradient_of_the_encoder_is_scaled_down() -> None:
    """Section 3.4 divides the gradient of states, but not of embeddings, by the number of keys and values."""
    x = torch.randn(5, requires_grad=True)
    y = scale_gradient(x, 0.25)
    assert y.equal(x)
    y.square().sum().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(x.grad, x.detach() / 2)
    built_decoder = decoder(layers=3)
    states, inputs = (torch.randn(2, 6, 16, requires_grad=True) for _ in range(2))
    source = built_decoder.start(seqx.Memory(states, inputs, SOURCE), 2, None).source
    assert source is not None
    values = sum((kv.values.sum() for kv in source.projected), torch.zeros(()))
    by_states, by_inputs = torch.autograd.grad(values, (states, inputs))
    assert by_inputs.count_nonzero()
    torch.testing.assert_close(by_states, by_inputs / 6)


def test_convolutional_decoder_works_without_source() -> None:
    built_decoder, x = decoder(attention=None), torch.randn(3, 5, 16)
    full, _ = built_decoder(x, built_decoder.start(None, 3, None), None)
    state = built_decoder.start(None, 3, None)
    for t in range(5):
        part, state = built_decoder(x[:, t : t + 1], state, None)
        torch.testing.assert_close(part, full[:, t : t + 1])
    with pytest.raises(ValueError, match="source_positions needs attention to a source"):
        decoder(attention=None, source_positions=Learned)


def test_lists_set_width_kernel_and_attention_of_each_layer() -> None:
    heads: list[Any] = [partial(MultiHeadAttention, heads=h) for h in (2, 4)]
    built_decoder = decoder(width=[8, 24], kernel=[3, 1], attention=heads)
    assert [layer.look.attention.heads for layer in built_decoder.layers if layer.look] == [2, 4]
    assert [layer.convolution.kernel for layer in built_decoder.layers] == [3, 1]
    assert [layer.convolution.map.bias.numel() for layer in built_decoder.layers] == [16, 48]
    assert [isinstance(layer.shortcut, nn.Identity) for layer in built_decoder.layers] == [True, False]
    wrong: list[dict[str, Any]] = [{"width": [8, 8]}, {"kernel": [3, 3]}, {"attention": heads}]
    for settings in wrong:
        with pytest.raises(ValueError, match=f"{next(iter(settings))}: 2 values for 3 layers"):
            decoder(layers=3, **settings)


def test_learned_positions_limit_convolutional_stacks() -> None:
    assert ConvolutionEncoder(16, layers=1, positions=partial(Learned, limit=9)).limit == 9
    assert ConvolutionEncoder(16, layers=1).limit is None
    positions, source_positions = partial(Learned, limit=9), partial(Learned, limit=7)
    assert decoder(positions=positions).limit == 9
    assert decoder(positions=positions, source_positions=source_positions).limit == 7
    assert decoder().limit is None


def test_convolutional_stacks_refuse_positions_that_act_in_attention() -> None:
    for build in (partial(ConvolutionEncoder, 16), decoder):
        with pytest.raises(ValueError, match="positions: this encoding acts in attention"):
            build(positions=Rotary)
        with pytest.raises(ValueError, match="positions: this encoding acts in attention, at least in part"):
            build(positions=partial(Combined, encodings=[Sinusoidal, Rotary]))


def test_convolutional_dropout_is_applied_where_section_4_2_says() -> None:
    """Section 4.2: on embeddings, on the input of each convolution and on the decoder's output."""

    def probabilities(module: nn.Module) -> list[float]:
        return [part.p for part in module.modules() if isinstance(part, nn.Dropout)]

    assert probabilities(ConvolutionEncoder(16, layers=3, dropout=0.25)) == [0.25] * 4
    assert probabilities(decoder(layers=3, dropout=0.25, attention=None)) == [0.25] * 5


@pytest.mark.isa
def test_convolutional_residual_stream_is_bfloat16_under_autocast() -> None:
    dtypes: list[torch.dtype] = []
    encoder, built_decoder = ConvolutionEncoder(16, layers=2, width=16), decoder()
    for layer in (*encoder.layers, *built_decoder.layers):
        layer.register_forward_hook(
            lambda _, __, y: dtypes.append((y[0] if isinstance(y, tuple) else y).dtype)
        )
    with torch.autocast("cpu", torch.bfloat16):
        x = torch.randn(2, 6, 16)
        memory = seqx.Memory(encoder(x, SOURCE), x, SOURCE)
        _, state = built_decoder(x, built_decoder.start(memory, 2, None), None)
        built_decoder(x, state, None)
    assert dtypes == [torch.bfloat16] * 6
    assert state.past is not None
    assert [past.dtype for past in state.past] == [torch.bfloat16] * 2


# The compiler itself reads .grad of the inputs of a layer.
@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_each_convolutional_layer_compiles_in_one_graph() -> None:
    """The trainer compiles each layer; all layers of a stack use the same graph."""
    encoder, built_decoder = ConvolutionEncoder(16, layers=2, width=16).eval(), decoder()
    x = torch.randn(2, 6, 16)

    def run() -> Tensor:
        memory = seqx.Memory(encoder(x, SOURCE), x, SOURCE)
        return built_decoder(x, built_decoder.start(memory, 2, 6), SOURCE.keep)[0]

    expected = run()
    torch.compiler.reset()
    for layer in (*encoder.layers, *built_decoder.layers):
        layer.compile(backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(run(), expected)
    with torch.compiler.set_stance("fail_on_recompile"):
        torch.testing.assert_close(run(), expected)
    torch.compiler.reset()
