"""Laws of decoders."""

import torch
from torch import Tensor

from seqx.interfaces.networks import Decoder
from seqx.interfaces.tensors import Memory, fork, rows
from seqx.testing import checks
from seqx.testing.law import Subject, law
from seqx.testing.samples import MEMORY, SOURCE_LENGTHS, TARGET_LENGTHS, B, D, T, memory, token_mask, vectors

X = vectors(B, T, D)
KEEP = token_mask(TARGET_LENGTHS, T)


def _decode(decoder: Decoder) -> Tensor:
    """Return the outputs of all target tokens [N, D]."""
    outputs, _ = decoder(X, decoder.start(MEMORY, B, T), KEEP)
    return outputs[KEEP]


@law(Decoder)
def incremental_outputs_equal_parallel_outputs(subject: Subject) -> None:
    """One token or four tokens at a time give the same outputs as all tokens at once."""
    decoder = subject.build(D)
    expected, _ = decoder(X, decoder.start(memory(), B, T), None)
    assert expected.shape == (B, T, D), f"outputs have the shape {tuple(expected.shape)}, not {(B, T, D)}"
    for size in (1, 4):
        state = decoder.start(memory(), B, None)
        for start in range(0, T, size):
            part, state = decoder(X[:, start : start + size], state, None)
            checks.assert_close(part, expected[:, start : start + size])


@law(Decoder)
def outputs_do_not_depend_on_later_tokens(subject: Subject) -> None:
    """The output of a token has a gradient for this token and none for later tokens."""
    decoder, x = subject.build(D), X.clone().requires_grad_()
    outputs, _ = decoder(x, decoder.start(memory(), B, T), None)
    (gradient,) = torch.autograd.grad((outputs[:, 2] * vectors(B, D, seed=6)).sum(), x)
    assert not gradient[:, 3:].count_nonzero(), "outputs depend on later tokens; use a causal mask"
    assert gradient[:, 2].count_nonzero(), "outputs do not depend on the input at the same position"


@law(Decoder)
def uses_source_is_correct(subject: Subject) -> None:
    """With `uses_source`, another source gives other outputs; without it, the decoder needs no source."""
    decoder = subject.build(D)
    expected, _ = decoder(X, decoder.start(memory(), B, None), None)
    if decoder.uses_source:
        states, inputs, source_layout = memory()
        other_source = Memory(states.flip(-1), inputs.flip(-1), source_layout)
        outputs, _ = decoder(X, decoder.start(other_source, B, None), None)
        assert (outputs - expected).abs().max() > 1e-3, (
            "uses_source is true, but another source gives the same outputs; set uses_source to false"
        )
    else:
        checks.assert_close(decoder(X, decoder.start(None, B, None), None)[0], expected)


@law(Decoder)
def padding_does_not_change_outputs(subject: Subject) -> None:
    """Outputs of tokens depend neither on padding of the source nor on padding of the target."""
    decoder = subject.build(D)
    expected, _ = decoder(X, decoder.start(memory(), B, T), KEEP)
    padded = X.masked_fill(~KEEP[..., None], 100.0)
    actual, _ = decoder(padded, decoder.start(memory(100.0), B, T), KEEP)
    checks.assert_close(actual[KEEP], expected[KEEP])
    for i, (s, t) in enumerate(zip(SOURCE_LENGTHS.tolist(), TARGET_LENGTHS.tolist(), strict=True)):
        states, inputs, layout = memory()
        single_layout = type(layout)(layout.keep[i : i + 1, :s], layout.positions[i : i + 1, :s])
        single_memory = Memory(states[i : i + 1, :s], inputs[i : i + 1, :s], single_layout)
        outputs, _ = decoder(X[i : i + 1, :t], decoder.start(single_memory, 1, t), None)
        checks.assert_close(outputs[0], expected[i, :t])


@law(Decoder)
def sentences_continue_after_padding(subject: Subject) -> None:
    """Each sentence of a padded batch continues after its own last token."""
    decoder, new = subject.build(D), vectors(B, 2, D, seed=7)
    _, state = decoder(X, decoder.start(memory(), B, None), KEEP)
    batch_outputs, _ = decoder(new, state, None)
    for i, t in enumerate(TARGET_LENGTHS.tolist()):
        single_memory = Memory(*(rows(part, torch.tensor([i])) for part in memory()))
        _, state = decoder(X[i : i + 1, :t], decoder.start(single_memory, 1, None), None)
        expected, _ = decoder(new[i : i + 1], state, None)
        checks.assert_close(batch_outputs[i : i + 1], expected)


def _last_outputs(decoder: Decoder) -> Tensor:
    """Return the outputs of the last three tokens [B, 3, D], computed after the first three."""
    _, state = decoder(X[:, :3], decoder.start(memory(), B, None), None)
    return decoder(X[:, 3:], state, None)[0]


@law(Decoder)
def rows_of_a_state_can_be_reordered(subject: Subject) -> None:
    """Rows can be selected, repeated and omitted, before the first token and later."""
    decoder, order = subject.build(D), torch.tensor([2, 0, 0])
    expected, _ = decoder(X, decoder.start(memory(), B, None), None)
    start = rows(decoder.start(memory(), B, None), order)
    checks.assert_close(decoder(X[order], start, None)[0], expected[order])
    _, state = decoder(X[:, :3], decoder.start(memory(), B, None), None)
    checks.assert_close(decoder(X[order, 3:], rows(state, order), None)[0], _last_outputs(decoder)[order])


@law(Decoder)
def rows_of_a_state_can_be_forked(subject: Subject) -> None:
    """Sentences can be repeated in adjacent rows, and these rows can be reordered, also across sentences."""
    decoder, twice = subject.build(D), torch.arange(B).repeat_interleave(2)
    expected = _last_outputs(decoder)
    for order in (torch.tensor([1, 1, 2, 3, 5, 4, 6, 6]), torch.tensor([7, 0, 2, 2, 1, 6, 5, 4])):
        _, state = decoder(X[twice, :3], fork(decoder.start(memory(), B, None), 2), None)
        outputs, _ = decoder(X[twice[order], 3:], rows(state, order), None)
        checks.assert_close(outputs, expected[twice[order]])


@law(Decoder)
def every_parameter_gets_a_gradient(subject: Subject) -> None:
    """Each trained parameter gets a gradient that is not all zeros."""
    checks.check_gradients(subject.build(D), _decode)


@law(Decoder)
def state_dict_round_trip(subject: Subject) -> None:
    """The state dict determines the outputs."""
    checks.check_state_dict(subject, _decode, D)


@law(Decoder)
def bfloat16_agrees(subject: Subject) -> None:
    """Outputs under bfloat16 autocast are close to those in float32."""
    checks.check_bfloat16(subject.build(D), _decode)


@law(Decoder)
def compiles(subject: Subject) -> None:
    """The component compiles to one graph and gives the same outputs."""
    checks.check_compilation(subject.build(D), _decode)
