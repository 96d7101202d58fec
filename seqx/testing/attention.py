"""The laws of attention."""

import torch
from torch import Tensor

from seqx.interfaces.networks import Attention, Place
from seqx.interfaces.values import KeyValue, Layout, Mask
from seqx.testing import checks
from seqx.testing.law import Subject, law
from seqx.testing.samples import MEMORY, SOURCE_LENGTHS, TARGET_LENGTHS, B, D, S, T, layout, memory, vectors

CAUSAL = Mask(causal=True)
QUERIES = vectors(B, T, D)
TARGETS = layout(TARGET_LENGTHS, T)


def _across(attention: Attention) -> Tensor:
    """From targets to sources of other lengths."""
    known = attention.project(MEMORY.states, MEMORY.states, Place.nowhere(MEMORY.layout))
    return attention(QUERIES, Place.nowhere(TARGETS), known, Mask())[TARGETS.keep]


@law(Attention)
def hidden_keys_change_nothing(subject: Subject) -> None:
    """What stands on padding cannot be seen."""
    attention, place = subject.build(D), Place.nowhere(layout(SOURCE_LENGTHS, S))
    queries = Place.nowhere(layout(TARGET_LENGTHS, T))
    outputs = []
    for padding in (0.0, 100.0):
        states = memory(padding).states
        outputs.append(attention(vectors(B, T, D), queries, attention.project(states, states, place), Mask()))
    checks.same(outputs[1], outputs[0])


@law(Attention)
def no_visible_key_gives_finite_numbers(subject: Subject) -> None:
    """A sentence that is all padding spoils no others."""
    attention = subject.build(D)
    nothing = Place.nowhere(Layout.of(torch.zeros(B, S, dtype=torch.bool)))
    states = memory().states.requires_grad_()
    outputs = attention(
        vectors(B, T, D),
        Place.nowhere(layout(TARGET_LENGTHS, T)),
        attention.project(states, states, nothing),
        Mask(),
    )
    outputs.sum().backward()
    assert outputs.isfinite().all()
    assert states.grad is None or states.grad.isfinite().all()


@law(Attention)
def nothing_leaks_from_the_future(subject: Subject) -> None:
    """A causal mask cuts every gradient from a token to those before it."""
    attention, place = subject.build(D), Place.nowhere(layout(torch.full((B,), T), T))
    x = vectors(B, T, D).requires_grad_()
    outputs = attention(x, place, attention.project(x, x, place), CAUSAL)
    (gradient,) = torch.autograd.grad(outputs[:, 2].square().sum(), x)
    assert not gradient[:, 3:].count_nonzero()


@law(Attention)
def token_by_token(subject: Subject) -> None:
    """Keys and values that are kept and extended serve like those projected at once."""
    attention, x, whole = subject.build(D), vectors(B, T, D), layout(torch.full((B,), T), T)
    place = Place.nowhere(whole)
    expected = attention(x, place, attention.project(x, x, place), CAUSAL)
    past: KeyValue | None = None
    for t in range(T):
        step = x[:, t : t + 1]
        here = Place.nowhere(Layout(whole.keep[:, t : t + 1], whole.positions[:, t : t + 1]))
        new = attention.project(step, step, here)
        past = new if past is None else past.extend(new)
        checks.same(attention(step, here, past, CAUSAL), expected[:, t : t + 1])


@law(Attention)
def weights_are_shares(subject: Subject) -> None:
    """Of what a query may look at, where there are weights; nothing goes to what it may not.

    A token may always look at itself; of another sequence it may see nothing at all.
    """
    attention, place = subject.build(D), Place.nowhere(TARGETS)
    for mask, known in ((CAUSAL, TARGETS), (Mask(), MEMORY.layout)):
        keys = vectors(B, known.keep.size(1), D, seed=3)
        memory = attention.project(keys, keys, Place.nowhere(known))
        weights = attention.weights(QUERIES, place, memory, mask)
        if weights is None:
            return
        assert weights.shape == (B, attention.heads, T, known.keep.size(1))
        assert (weights >= 0).all()
        shares = weights.transpose(1, 2)[TARGETS.keep]  # [N, H, S]
        total, one = shares.sum(-1), torch.ones(shares.shape[:2])
        torch.testing.assert_close(total, one if mask.causal else one * (total > 0))
        hidden = ~mask.dense(TARGETS, known).transpose(1, 2)[TARGETS.keep]  # [N, 1, S]
        assert not shares.masked_select(hidden).count_nonzero()


@law(Attention)
def every_parameter_gets_a_gradient(subject: Subject) -> None:
    """Nothing is kept that cannot learn."""
    checks.parameters_learn(subject.build(D), _across)


@law(Attention)
def state_dict_round_trip(subject: Subject) -> None:
    """The state dict is all there is to it."""
    checks.state_dict_holds_all(subject, _across, D)


@law(Attention)
def bfloat16_agrees(subject: Subject) -> None:
    """Autocast changes little."""
    checks.bfloat16_agrees(subject.build(D), _across)


@law(Attention)
def compiles(subject: Subject) -> None:
    """In one graph."""
    checks.compiles(subject.build(D), _across)
