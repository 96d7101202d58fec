"""The laws of decoders."""

import torch
from torch import Tensor

from seqx.interfaces.networks import Decoder
from seqx.interfaces.values import Memory, fork, rows
from seqx.testing import checks
from seqx.testing.law import Subject, law
from seqx.testing.samples import MEMORY, SOURCE_LENGTHS, TARGET_LENGTHS, B, D, T, kept, memory, vectors

X = vectors(B, T, D)
KEEP = kept(TARGET_LENGTHS, T)


def _write(decoder: Decoder) -> Tensor:
    outputs, _ = decoder(X, decoder.start(MEMORY, B, T), KEEP)
    return outputs[KEEP]


@law(Decoder)
def token_by_token(subject: Subject) -> None:
    """Equals all at once, and so does a stretch at a time."""
    decoder = subject.build(D)
    whole, _ = decoder(X, decoder.start(memory(), B, T), None)
    assert whole.shape == (B, T, D)
    for size in (1, 4):
        state = decoder.start(memory(), B, None)
        for start in range(0, T, size):
            part, state = decoder(X[:, start : start + size], state, None)
            checks.same(part, whole[:, start : start + size])


@law(Decoder)
def nothing_leaks_from_the_future(subject: Subject) -> None:
    """No gradient goes from a token to those before it."""
    decoder, x = subject.build(D), X.clone().requires_grad_()
    outputs, _ = decoder(x, decoder.start(memory(), B, T), None)
    (gradient,) = torch.autograd.grad((outputs[:, 2] * vectors(B, D, seed=6)).sum(), x)
    assert not gradient[:, 3:].count_nonzero()
    assert gradient[:, 2].count_nonzero()


@law(Decoder)
def says_whether_it_reads(subject: Subject) -> None:
    """Another source changes what one writes that `reads`; one that does not can be started without any."""
    decoder = subject.build(D)
    told, _ = decoder(X, decoder.start(memory(), B, None), None)
    if decoder.uses_source:
        states, inputs, places = memory()
        other, _ = decoder(X, decoder.start(Memory(states.flip(-1), inputs.flip(-1), places), B, None), None)
        assert (other - told).abs().max() > 1e-3, "it reads, and another source changes nothing"
    else:
        checks.same(decoder(X, decoder.start(None, B, None), None)[0], told)


@law(Decoder)
def padding_changes_nothing(subject: Subject) -> None:
    """Neither in the source nor on the right of the target."""
    decoder = subject.build(D)
    expected, _ = decoder(X, decoder.start(memory(), B, T), KEEP)
    padded = X.masked_fill(~KEEP[..., None], 100.0)
    actual, _ = decoder(padded, decoder.start(memory(100.0), B, T), KEEP)
    checks.same(actual[KEEP], expected[KEEP])
    for i, (s, t) in enumerate(zip(SOURCE_LENGTHS.tolist(), TARGET_LENGTHS.tolist(), strict=True)):
        states, inputs, layout = memory()
        short = type(layout)(layout.keep[i : i + 1, :s], layout.positions[i : i + 1, :s])
        alone = Memory(states[i : i + 1, :s], inputs[i : i + 1, :s], short)
        outputs, _ = decoder(X[i : i + 1, :t], decoder.start(alone, 1, t), None)
        checks.same(outputs[0], expected[i, :t])


@law(Decoder)
def sentences_of_a_batch_may_have_written_more_or_less(subject: Subject) -> None:
    """After padded tokens each goes on from where it stands."""
    decoder, new = subject.build(D), vectors(B, 2, D, seed=7)
    _, state = decoder(X, decoder.start(memory(), B, None), KEEP)
    together, _ = decoder(new, state, None)
    for i, t in enumerate(TARGET_LENGTHS.tolist()):
        alone = Memory(*(rows(part, torch.tensor([i])) for part in memory()))
        _, state = decoder(X[i : i + 1, :t], decoder.start(alone, 1, None), None)
        expected, _ = decoder(new[i : i + 1], state, None)
        checks.same(together[i : i + 1], expected)


def _later(decoder: Decoder) -> Tensor:
    """Outputs of the last three tokens, the first three being written."""
    _, state = decoder(X[:, :3], decoder.start(memory(), B, None), None)
    return decoder(X[:, 3:], state, None)[0]


@law(Decoder)
def rows_of_a_state_can_be_reordered(subject: Subject) -> None:
    """Picked, repeated and left out, from the start and later on."""
    decoder, order = subject.build(D), torch.tensor([2, 0, 0])
    expected, _ = decoder(X, decoder.start(memory(), B, None), None)
    start = rows(decoder.start(memory(), B, None), order)
    checks.same(decoder(X[order], start, None)[0], expected[order])
    _, state = decoder(X[:, :3], decoder.start(memory(), B, None), None)
    checks.same(decoder(X[order, 3:], rows(state, order), None)[0], _later(decoder)[order])


@law(Decoder)
def a_state_can_be_forked(subject: Subject) -> None:
    """Each sentence several times, side by side; then rows can be reordered, within a sentence or not."""
    decoder, twice = subject.build(D), torch.arange(B).repeat_interleave(2)
    later = _later(decoder)
    for order in (torch.tensor([1, 1, 2, 3, 5, 4, 6, 6]), torch.tensor([7, 0, 2, 2, 1, 6, 5, 4])):
        _, state = decoder(X[twice, :3], fork(decoder.start(memory(), B, None), 2), None)
        rest, _ = decoder(X[twice[order], 3:], rows(state, order), None)
        checks.same(rest, later[twice[order]])


@law(Decoder)
def every_parameter_gets_a_gradient(subject: Subject) -> None:
    """Nothing is kept that cannot learn."""
    checks.parameters_learn(subject.build(D), _write)


@law(Decoder)
def state_dict_round_trip(subject: Subject) -> None:
    """The state dict is all there is to it."""
    checks.state_dict_holds_all(subject, _write, D)


@law(Decoder)
def bfloat16_agrees(subject: Subject) -> None:
    """Autocast changes little."""
    checks.bfloat16_agrees(subject.build(D), _write)


@law(Decoder)
def compiles(subject: Subject) -> None:
    """In one graph."""
    checks.compiles(subject.build(D), _write)
