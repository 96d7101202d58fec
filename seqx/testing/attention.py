"""The laws of attention."""

import torch
from torch import Tensor

from seqx.interfaces.networks import Attention, PositionalEncoding, Positioned
from seqx.interfaces.values import KeyValue, Layout, Mask
from seqx.testing import checks
from seqx.testing.law import Subject, law
from seqx.testing.samples import MEMORY, TARGET_LENGTHS, B, D, S, T, layout, memory, vectors

CAUSAL = Mask(causal=True)
QUERIES, WITHIN = vectors(B, T, D), vectors(B, S, D)
TARGETS = layout(TARGET_LENGTHS, T)


def _asking(attention: Attention) -> tuple[Tensor, Positioned]:
    """Queries for MEMORY: of targets of other lengths, or of as many tokens where it is for one sequence."""
    try:
        attention.check(None)
    except ValueError:
        return WITHIN, Positioned.unordered(MEMORY.layout)
    return QUERIES, Positioned.unordered(TARGETS)


def _gathered(attention: Attention) -> Tensor:
    """What it gathers of MEMORY."""
    queries, positioned = _asking(attention)
    known = attention.project(MEMORY.states, MEMORY.states, Positioned.unordered(MEMORY.layout))
    return attention(queries, positioned, known, Mask())[positioned.layout.keep]


@law(Attention)
def hidden_keys_change_nothing(subject: Subject) -> None:
    """What stands on padding cannot be seen."""
    attention = subject.build(D)
    queries, positioned = _asking(attention)
    outputs = []
    for padding in (0.0, 100.0):
        states, _, known = memory(padding)
        projected = attention.project(states, states, Positioned.unordered(known))
        outputs.append(attention(queries, positioned, projected, Mask())[positioned.layout.keep])
    checks.same(outputs[1], outputs[0])


@law(Attention)
def no_visible_key_gives_finite_numbers(subject: Subject) -> None:
    """A sentence that is all padding spoils no others."""
    attention = subject.build(D)
    queries, positioned = _asking(attention)
    nothing = Positioned.unordered(Layout.of(torch.zeros(B, S, dtype=torch.bool)))
    states = memory().states.requires_grad_()
    outputs = attention(queries, positioned, attention.project(states, states, nothing), Mask())
    outputs.sum().backward()
    assert outputs.isfinite().all()
    assert states.grad is None or states.grad.isfinite().all()


@law(Attention)
def nothing_leaks_from_the_future(subject: Subject) -> None:
    """A causal mask cuts every gradient from a token to those before it."""
    attention, positioned = subject.build(D), Positioned.unordered(layout(torch.full((B,), T), T))
    x = vectors(B, T, D).requires_grad_()
    outputs = attention(x, positioned, attention.project(x, x, positioned), CAUSAL)
    (gradient,) = torch.autograd.grad(outputs[:, 2].square().sum(), x)
    assert not gradient[:, 3:].count_nonzero(), (
        "a token sees those behind it: ask `mask.dense` what it may see"
    )


@law(Attention)
def token_by_token(subject: Subject) -> None:
    """Keys and values that are kept and extended serve like those projected at once."""
    attention, x, whole = subject.build(D), vectors(B, T, D), layout(torch.full((B,), T), T)
    positioned = Positioned.unordered(whole)
    expected = attention(x, positioned, attention.project(x, x, positioned), CAUSAL)
    past: KeyValue | None = None
    for t in range(T):
        step = x[:, t : t + 1]
        here = Positioned.unordered(Layout(whole.keep[:, t : t + 1], whole.positions[:, t : t + 1]))
        new = attention.project(step, step, here)
        past = new if past is None else past.extend(new)
        checks.same(attention(step, here, past, CAUSAL), expected[:, t : t + 1])


@law(Attention)
def weights_are_shares(subject: Subject) -> None:
    """Of what a query may look at, where there are weights; nothing goes to what it may not."""
    attention = subject.build(D)
    within = (QUERIES, Positioned.unordered(TARGETS), CAUSAL, TARGETS)
    for queries, positioned, mask, known in (within, (*_asking(attention), Mask(), MEMORY.layout)):
        keys = vectors(B, known.keep.size(1), D, seed=3)
        memory = attention.project(keys, keys, Positioned.unordered(known))
        weights = attention.weights(queries, positioned, memory, mask)
        if weights is None:
            return
        assert weights.shape == (B, attention.heads, queries.size(1), known.keep.size(1))
        assert (weights >= 0).all()
        shares = weights.transpose(1, 2)[positioned.layout.keep]  # [N, H, S]
        torch.testing.assert_close(shares.sum(-1), torch.ones(shares.shape[:2]))
        hidden = ~mask.dense(positioned.layout, known).transpose(1, 2)[positioned.layout.keep]  # [N, 1, S]
        assert not shares.masked_select(hidden).count_nonzero()


class _Queries(PositionalEncoding):
    def query(self, q: Tensor, positions: Tensor) -> Tensor:
        return q * (1 + positions[:, None, :, None])


class _Keys(PositionalEncoding):
    def key(self, k: Tensor, positions: Tensor) -> Tensor:
        return k * (1 + positions[:, None, :, None])


class _Scores(PositionalEncoding):
    def bias(self, q: Tensor, k: Tensor, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        return -(q_positions[:, None, :, None] - k_positions[:, None, None, :]).abs().float()


class _Values(PositionalEncoding):
    width = 1

    def values(self, weights: Tensor, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        return (weights @ k_positions[:, None, :, None].float()).expand(-1, -1, -1, self.width)


@law(Attention)
def order_is_heard_or_refused(subject: Subject) -> None:
    """Positions told in queries, keys, scores or values change what is gathered, or `check` says no."""
    attention, order = subject.build(D), Layout.of(torch.ones(B, T, dtype=torch.bool))

    def gathered(encoding: PositionalEncoding) -> Tensor:
        positioned = Positioned(encoding, order)
        projected = attention.project(QUERIES, QUERIES, positioned)
        _Values.width = projected.values.size(-1)
        return attention(QUERIES, positioned, projected, Mask())

    silent = gathered(PositionalEncoding(D, attention.heads))
    for kind in (_Queries, _Keys, _Scores, _Values):
        encoding = kind(D, attention.heads)
        try:
            attention.check(encoding)
        except ValueError:
            continue
        where = kind.__name__.strip("_").lower()
        heard = (gathered(encoding) - silent).abs().max() > 1e-3
        assert heard, (
            f"it passes over what positions tell in {where}: ask `positioned`, or refuse them in `check`"
        )


@law(Attention)
def every_parameter_gets_a_gradient(subject: Subject) -> None:
    """Nothing is kept that cannot learn."""
    checks.parameters_learn(subject.build(D), _gathered)


@law(Attention)
def state_dict_round_trip(subject: Subject) -> None:
    """The state dict is all there is to it."""
    checks.state_dict_holds_all(subject, _gathered, D)


@law(Attention)
def bfloat16_agrees(subject: Subject) -> None:
    """Autocast changes little."""
    checks.bfloat16_agrees(subject.build(D), _gathered)


@law(Attention)
def compiles(subject: Subject) -> None:
    """In one graph."""
    checks.compiles(subject.build(D), _gathered)
