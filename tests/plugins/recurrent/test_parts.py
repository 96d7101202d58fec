"""Settings, initial values and dropout of recurrent encoders and decoders."""

from functools import partial
from typing import Any

import pytest
import torch

import seqx
from seqx_recurrent import GRUDecoder, GRUEncoder, LSTMDecoder, LSTMEncoder
from seqx_transformer import MultiHeadAttention

B, S, T, D = 3, 5, 4, 16
LENGTHS = torch.tensor([5, 2, 3])
ATTENTION = partial(MultiHeadAttention, heads=2)


def memory() -> seqx.Memory:
    states = torch.randn(B, S, D)
    return seqx.Memory(states, states, seqx.Layout.of(torch.arange(S) < LENGTHS[:, None]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"attention": None, "input_feeding": True}, "input_feeding needs attention"),
        ({"attention": None, "order": "bahdanau"}, "order: bahdanau needs attention"),
        (
            {"attention": ATTENTION, "order": "bahdanau", "input_feeding": True},
            "input_feeding needs order: luong",
        ),
    ],
)
def test_recurrent_decoder_refuses_inconsistent_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LSTMDecoder(D, **settings)


def test_bidirectional_encoder_refuses_an_odd_d_model() -> None:
    with pytest.raises(ValueError, match="set bidirectional: none"):
        GRUEncoder(15)
    x, layout = torch.randn(1, 2, 15), seqx.Layout.of(torch.ones(1, 2, dtype=torch.bool))
    assert GRUEncoder(15, bidirectional="none")(x, layout).shape == (1, 2, 15)


@pytest.mark.parametrize(
    ("settings", "setting"),
    [
        ({"attention": ATTENTION, "initial": None}, "attention"),
        ({"attention": None, "initial": "mean"}, "initial"),
        ({"attention": ATTENTION, "initial": "mean"}, "attention and initial"),
    ],
)
def test_recurrent_decoder_that_uses_a_source_refuses_a_model_without_source(
    settings: dict[str, Any], setting: str
) -> None:
    message = f"decoder: it uses a source, but this model has none; set {setting} so that it does not"
    with pytest.raises(ValueError, match=message):
        GRUDecoder(D, **settings).check(source=False)


@pytest.mark.parametrize("initial", ["mean", "first", "last"])
def test_initial_state_is_a_tanh_layer_of_the_source_summary(initial: Any) -> None:
    decoder, source = LSTMDecoder(D, layers=2, attention=ATTENTION, initial=initial), memory()
    assert decoder.first is not None
    state = decoder.start(source, B, None)
    initial_states = torch.cat([part for layer in state.hidden for part in layer], -1)
    for i, length in enumerate(LENGTHS.tolist()):
        states = source.states[i, :length]
        summary = {"mean": states.mean(0), "first": states[0], "last": states[-1]}[initial]
        torch.testing.assert_close(initial_states[i], decoder.first.linear(summary).tanh())


def test_initial_state_of_an_empty_source_is_zero() -> None:
    empty = torch.zeros(B, 0, D)
    empty_memory = seqx.Memory(empty, empty, seqx.Layout.of(torch.zeros(B, 0, dtype=torch.bool)))
    for initial in ("mean", "first", "last"):
        decoder = LSTMDecoder(D, attention=None, initial=initial)
        state = decoder.start(empty_memory, B, None)
        assert not any(part.count_nonzero() for layer in state.hidden for part in layer)


@pytest.mark.parametrize(("encoder", "gate", "gates"), [(LSTMEncoder, 1, 4), (GRUEncoder, 1, 3)])
def test_forget_bias_initialises_the_forget_gate_only(encoder: Any, gate: int, gates: int) -> None:
    layer = encoder(D, layers=1, bidirectional="none", forget_bias=3.0).layers[0].forwards
    for i, bias in enumerate((layer.bias_ih + layer.bias_hh).detach().chunk(gates)):
        assert bias.tolist() == [3.0 if i == gate else 0.0] * D
    for recurrent in layer.weight_hh.detach().chunk(gates):
        torch.testing.assert_close(recurrent @ recurrent.T, torch.eye(D))


@pytest.mark.parametrize("settings", [{}, {"input_feeding": True}, {"order": "bahdanau"}], ids=str)
def test_recurrent_dropout_is_applied_in_training_only(settings: dict[str, Any]) -> None:
    decoder = LSTMDecoder(D, attention=ATTENTION, dropout=0.5, **settings)
    x, source = torch.randn(B, T, D), memory()

    def outputs() -> torch.Tensor:
        return decoder(x, decoder.start(source, B, None), None)[0]

    first, second = outputs(), outputs()
    assert (first != second).any()
    assert 0.3 < (first == 0).float().mean() < 0.7
    decoder.eval()
    torch.testing.assert_close(outputs(), outputs(), rtol=0, atol=0)
    assert outputs().count_nonzero() == outputs().numel()


def test_recurrent_weights_have_one_dropout_mask_for_all_tokens() -> None:
    """With the same seed, the kernel over all tokens and the step for one token drop the same weights."""
    decoder = GRUDecoder(
        D, layers=2, attention=None, initial=None, dropout=0.0, recurrent_dropout=0.5
    ).train()
    x = torch.randn(B, T, D)
    state = decoder.start(None, B, None)
    torch.manual_seed(3)
    full, _ = decoder.stack(x, state.hidden, None)
    torch.manual_seed(3)
    weights, hidden, outputs = decoder.stack.weights(), state.hidden, []
    for token in x.unbind(1):
        y, hidden = decoder.stack.step(token, hidden, weights)
        outputs.append(y)
    torch.testing.assert_close(torch.stack(outputs, 1), full)
    assert (decoder.stack(x, state.hidden, None)[0] != full).any()
    decoder.eval()
    torch.testing.assert_close(decoder.stack.weights()[0][1], decoder.stack.layers[0].weight_hh)
