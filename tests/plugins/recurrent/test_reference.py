"""Recurrent layers compared with PyTorch's layers, and decoders with the formulas of the papers.

Letters in shapes: S source tokens, T target tokens, D = d_model.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import seqx
from seqx_recurrent import GRUDecoder, GRUEncoder, LSTMDecoder, LSTMEncoder
from seqx_recurrent.recurrence import GRU, LSTM, Recurrence
from seqx_transformer import MultiHeadAttention

B, S, T, D = 4, 7, 6, 16
SOURCE_LENGTHS, TARGET_LENGTHS = [7, 4, 1, 5], [3, 6, 1, 0]
SOURCE = seqx.Layout.of(torch.arange(S) < torch.tensor(SOURCE_LENGTHS)[:, None])
KEEP = torch.arange(T) < torch.tensor(TARGET_LENGTHS)[:, None]
ATTENTION = partial(MultiHeadAttention, heads=2)
LAYERS = [(LSTM, nn.LSTM, LSTMEncoder, LSTMDecoder), (GRU, nn.GRU, GRUEncoder, GRUDecoder)]

close = partial(torch.testing.assert_close, rtol=1e-4, atol=1e-5)


def with_random_weights(module: Any) -> Any:
    """Set all parameters to normal random values, also those whose initial value is 0 or 1."""
    for p in module.parameters():
        nn.init.normal_(p, 0.0, 0.4)
    return module.eval()


def weights(ours: Recurrence, suffix: str) -> dict[str, Tensor]:
    """Return the weights of a layer under the names that PyTorch's layers use."""
    return {f"{name}_l0{suffix}": value for name, value in ours.state_dict().items()}


def layer_of(kind: Any, *directions: Recurrence) -> Any:
    """Return a layer of PyTorch with the weights of one layer of seqx, or of two for both directions."""
    inputs, width = directions[0].weight_ih.size(1), directions[0].width
    theirs = kind(inputs, width, batch_first=True, bidirectional=len(directions) == 2)
    state: dict[str, Tensor] = {}
    for ours, suffix in zip(directions, ("", "_reverse"), strict=False):
        state |= weights(ours, suffix)
    theirs.load_state_dict(state)
    return theirs


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize(("bidirectional", "number_bidirectional"), [("all", 3), ("first", 1), ("none", 0)])
@pytest.mark.parametrize("classes", LAYERS, ids=["lstm", "gru"])
def test_recurrent_encoders_equal_pytorchs_layers(
    classes: Any, bidirectional: Any, number_bidirectional: int, residual: bool
) -> None:
    _, theirs, encoder, _ = classes
    ours = with_random_weights(encoder(D, layers=3, bidirectional=bidirectional, residual=residual))
    directions = [
        (layer.forwards.forwards, layer.backwards.forwards) if i < number_bidirectional else (layer.forwards,)
        for i, layer in enumerate(ours.layers)
    ]
    stack = [layer_of(theirs, *pair) for pair in directions]
    x = torch.randn(B, S, D)
    actual = ours(x, SOURCE)
    assert actual.shape == (B, S, D)
    for i, length in enumerate(SOURCE_LENGTHS):
        expected = x[i : i + 1, :length]
        for number, layer in enumerate(stack):
            y = layer(expected)[0]
            expected = expected + y if residual and number else y
        close(actual[i, :length], expected[0])


@pytest.mark.parametrize("classes", LAYERS, ids=["lstm", "gru"])
def test_padding_does_not_change_the_hidden_state_of_recurrent_layers(classes: Any) -> None:
    recurrence, theirs, *_ = classes
    ours: Recurrence = with_random_weights(recurrence(5, D, forget_bias=0.0, dropout=0.0))
    reference = layer_of(theirs, ours)
    x = torch.randn(B, T, 5).masked_fill(~KEEP[..., None], 1e3)
    before = tuple(torch.randn(B, D).tanh() for _ in range(ours.hidden_tensors))
    y, after = ours(x, before, KEEP)
    for i, length in enumerate(TARGET_LENGTHS):
        start = tuple(part[None, i : i + 1] for part in before)
        if length == 0:
            expected = start
        else:
            states, last = reference(x[i : i + 1, :length], start if len(start) == 2 else start[0])
            close(y[i, :length], states[0])
            expected = last if isinstance(last, tuple) else (last,)
        for mine, other in zip(after, expected, strict=True):
            close(mine[i], other[0, 0])


def lstm_cell(p: Recurrence, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    i, f, g, o = (p.weight_ih @ x + p.bias_ih + p.weight_hh @ h + p.bias_hh).chunk(4)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def gru_cell(p: Recurrence, x: Tensor, h: Tensor) -> tuple[Tensor]:
    (wr, wz, wn), (br, bz, bn) = p.weight_ih.chunk(3), p.bias_ih.chunk(3)
    (ur, uz, un), (cr, cz, cn) = p.weight_hh.chunk(3), p.bias_hh.chunk(3)
    r = (wr @ x + br + ur @ h + cr).sigmoid()
    z = (wz @ x + bz + uz @ h + cz).sigmoid()
    n = (wn @ x + bn + r * (un @ h + cn)).tanh()
    return ((1 - z) * n + z * h,)


CELLS: dict[Any, Callable[..., Any]] = {LSTMDecoder: lstm_cell, GRUDecoder: gru_cell}


class ReferenceDecoder:
    """A decoder for one sentence, implemented from the formulas of the papers."""

    def __init__(self, decoder: Any, states: Tensor) -> None:
        self.decoder, self.states, self.writing = decoder, states, decoder.writing
        self.layers = list(decoder.stack.layers)
        self.cell = CELLS[type(decoder)]
        parts = self.layers[0].hidden_tensors
        first = (decoder.first.linear.weight @ states.mean(0) + decoder.first.linear.bias).tanh().view(-1, D)
        self.hidden = [tuple(first[i * parts : (i + 1) * parts]) for i in range(len(self.layers))]

    def attend(self, query: Tensor) -> Tensor:
        """Compute multi-head attention with one query."""
        attention = self.writing.attention
        q = (attention.query.weight @ query).view(2, -1)
        k, v = (
            linear(self.states).view(len(self.states), 2, -1) for linear in (attention.key, attention.value)
        )
        heads = [
            sum(
                w * value
                for w, value in zip((k[:, h] @ q[h] * (D // 2) ** -0.5).softmax(0), v[:, h], strict=True)
            )
            for h in range(2)
        ]
        return attention.output.weight @ torch.cat([torch.as_tensor(head) for head in heads])

    def run_layers(self, x: Tensor) -> Tensor:
        """Run all layers on one token."""
        for i, layer in enumerate(self.layers):
            self.hidden[i] = self.cell(layer, x, *self.hidden[i])
            x = x + self.hidden[i][0] if self.decoder.stack.residual and i else self.hidden[i][0]
        return x

    def luong(self, x: Tensor, fed: Tensor | None) -> Tensor:
        """Compute equation 5 of Luong et al. 2015, with input feeding if `fed` is set (section 3.3)."""
        s = self.run_layers(x if fed is None else torch.cat([x, fed]))
        return (self.writing.combine.weight @ torch.cat([self.attend(s), s])).tanh()

    def bahdanau(self, x: Tensor) -> Tensor:
        """Compute the output of Bahdanau et al. 2015, appendix A.2.2."""
        context = self.attend(self.hidden[-1][0])
        s = self.run_layers(torch.cat([x, context]))
        maps = self.writing.readout.weight @ torch.cat([s, x, context]) + self.writing.readout.bias
        return torch.stack([torch.maximum(maps[2 * i], maps[2 * i + 1]) for i in range(D)])


@torch.no_grad()
@pytest.mark.parametrize(
    "settings",
    [
        {"order": "luong"},
        {"order": "luong", "residual": True},
        {"order": "luong", "input_feeding": True},
        {"order": "luong", "input_feeding": True, "residual": True},
        {"order": "bahdanau"},
        {"order": "bahdanau", "residual": True},
    ],
    ids=lambda settings: "-".join(map(str, settings.values())),
)
@pytest.mark.parametrize("kind", [LSTMDecoder, GRUDecoder], ids=["lstm", "gru"])
def test_recurrent_decoders_follow_the_papers(kind: Any, settings: dict[str, Any]) -> None:
    decoder = with_random_weights(kind(D, layers=2, attention=ATTENTION, **settings))
    x, states = torch.randn(B, T, D), torch.randn(B, S, D)
    actual, _ = decoder(x, decoder.start(seqx.Memory(states, states, SOURCE), B, T), KEEP)
    for i, (source, target) in enumerate(zip(SOURCE_LENGTHS, TARGET_LENGTHS, strict=True)):
        reference = ReferenceDecoder(decoder, states[i, :source])
        fed = torch.zeros(D) if settings.get("input_feeding") else None
        for t in range(target):
            if settings["order"] == "bahdanau":
                expected = reference.bahdanau(x[i, t])
            else:
                expected = reference.luong(x[i, t], fed)
                fed = None if fed is None else expected
            close(actual[i, t], expected)


@pytest.mark.parametrize("classes", LAYERS, ids=["lstm", "gru"])
def test_recurrent_decoder_without_source_equals_pytorchs_stack(classes: Any) -> None:
    _, theirs, _, decoder = classes
    ours = with_random_weights(decoder(D, layers=2, attention=None, initial=None))
    first, second = (layer_of(theirs, layer) for layer in ours.stack.layers)
    x = torch.randn(B, T, D)
    actual, state = ours(x, ours.start(None, B, None), KEEP)
    more, _ = ours(x, state, None)
    for i, length in enumerate(TARGET_LENGTHS):
        inputs = torch.cat([x[i : i + 1, :length], x[i : i + 1]], 1)
        expected = second(first(inputs)[0])[0][0]
        close(actual[i, :length], expected[:length])
        close(more[i], expected[length:])
