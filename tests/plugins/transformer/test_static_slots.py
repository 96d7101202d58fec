"""Slots with tensors of fixed shapes give the same outputs as slots that grow."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

import seqx
from seqx.plugin.registry import Component
from seqx.testing.law import Subject, laws_of
from seqx_models import EncoderDecoder
from seqx_transformer import (
    GroupedQueryAttention,
    LinearAttention,
    MultiHeadAttention,
    RestrictedAttention,
    Rotary,
    Shaw,
    Sinusoidal,
    TransformerDecoder,
    TransformerEncoder,
)
from seqx_transformer.slots import TransformerSlots, TransformerState
from seqx_transformer.static_slots import StaticSlots

D, K, CAPACITY = 16, 3, 6


def build(attention: Any = MultiHeadAttention, positions: Any = Sinusoidal) -> TransformerDecoder:
    torch.manual_seed(1)
    make, cross = partial(attention, heads=2), MultiHeadAttention
    return TransformerDecoder(D, layers=2, attention=make, cross_attention=cross, positions=positions).eval()


def state(decoder: TransformerDecoder, lengths: list[int], seed: int) -> TransformerState:
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.tensor(lengths)
    layout = seqx.Layout.of(torch.arange(max(lengths)) < sizes[:, None])
    states = torch.randn(len(lengths), max(lengths), D, generator=generator)
    return decoder.start(seqx.Memory(states, states, layout), len(lengths), CAPACITY)


def static_slots(decoder: TransformerDecoder, start: TransformerState, **options: int) -> StaticSlots:
    assert start.source is not None
    return StaticSlots(decoder, len(decoder.layers), start, start.source, **options)


def search(slots: seqx.Slots, decoder: TransformerDecoder, later: list[int]) -> list[Tensor]:
    """Return the outputs of a search in which slots are reordered, released and filled."""
    generator, outputs = torch.Generator().manual_seed(7), []
    for step in range(11):
        count = len(slots.occupied)
        embeddings = torch.randn(12, D, generator=generator)[: count * K]
        if step == 0:  # all hypotheses begin with BOS
            embeddings = embeddings[::K].repeat_interleave(K, 0)
        outputs.append(slots.step(embeddings))
        slots.reorder(torch.randint(K, (4, K), generator=generator)[:count])
        if step == 2:
            slots.release([1, 3])
        if step == 4:
            slots.fill([3], state(decoder, later, seed=3))
            slots.release([0])
        if step == 5:  # all that began first have ended
            slots.release([2])
            slots.fill([0, 1], state(decoder, [4, 2], seed=4))
    return outputs


@pytest.mark.parametrize(
    ("attention", "positions"),
    [
        (MultiHeadAttention, Sinusoidal),
        (MultiHeadAttention, Shaw),
        (GroupedQueryAttention, Rotary),
        (LinearAttention, Sinusoidal),
        (partial(RestrictedAttention, window=2), Sinusoidal),
    ],
)
@pytest.mark.parametrize("later", [[2], [9]])
@torch.no_grad()
def test_outputs_equal_those_of_slots_that_grow(attention: Any, positions: Any, later: list[int]) -> None:
    decoder = build(attention, positions)
    options: Any = {"hypotheses": K, "capacity": CAPACITY}
    growing = TransformerSlots(decoder, 2, state(decoder, [5, 3, 4, 1], seed=2), **options)
    static = static_slots(decoder, state(decoder, [5, 3, 4, 1], seed=2), **options)
    expected, actual = search(growing, decoder, later), search(static, decoder, later)
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


class StaticDecoder(TransformerDecoder):
    """A decoder that uses these slots on a CPU, too."""

    def slots(self, state: TransformerState, hypotheses: int, capacity: int | None) -> StaticSlots:
        assert capacity is not None
        return static_slots(self, state, hypotheses=hypotheses, capacity=capacity)


class StaticSubject(Subject):
    """A model with such a decoder."""

    def build(self, *arguments: Any, seed: int = 0) -> EncoderDecoder:
        torch.manual_seed(seed)
        stack: dict[str, Any] = {"layers": 2, "attention": partial(MultiHeadAttention, heads=2)}
        encoder, decoder = partial(TransformerEncoder, **stack), partial(StaticDecoder, **stack)
        return EncoderDecoder(*arguments, d_model=D, encoder=encoder, decoder=decoder).eval()


LAWS = {law.__name__: law for law in laws_of(seqx.Generator) if "slot" in law.__name__}


@pytest.mark.parametrize("law", LAWS)
@torch.no_grad()
def test_static_slots_obey_the_laws(law: str) -> None:
    LAWS[law](StaticSubject(Component("static", seqx.Model, EncoderDecoder, {})))


def test_laws_of_slots_are_checked() -> None:
    assert len(LAWS) == 4


def test_static_slots_are_not_used_on_a_cpu() -> None:
    decoder = build()
    assert isinstance(decoder.slots(state(decoder, [2], seed=1), K, CAPACITY), TransformerSlots)
