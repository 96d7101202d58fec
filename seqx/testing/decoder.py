"""Laws of decoders."""

import torch
from torch import Tensor

from seqx.interfaces.networks import Decoder
from seqx.interfaces.tensors import Memory, State, fork, rows
from seqx.testing.checks import assert_close, assert_sentences_are_independent
from seqx.testing.law import Subject, law
from seqx.testing.network import PACKED, Sample, add_network_laws
from seqx.testing.samples import (
    MEMORY,
    SOURCE_LENGTHS,
    TARGET_LENGTHS,
    B,
    D,
    T,
    memory,
    packed,
    packed_layout,
    token_mask,
    vectors,
)

X = vectors(B, T, D)
KEEP = token_mask(TARGET_LENGTHS, T)


# A compiler traces a recurrent decoder token by token, so these laws have few tokens.
FIRST, FIRST_KEEP = X[:, :4].clone(), KEEP[:, :4].clone()


def _decode(decoder: Decoder) -> Tensor:
    """Return the outputs of the first target tokens [N, D]."""
    outputs, _ = decoder(FIRST, decoder.start(MEMORY, B, FIRST.size(1)), FIRST_KEEP)
    return outputs[FIRST_KEEP]


add_network_laws(
    Decoder, Sample(_decode, [D], (FIRST, FIRST_KEEP, MEMORY.states, MEMORY.inputs, MEMORY.layout.keep))
)

INCREMENTAL = (
    "forward: with {1} tokens in each call, token {0} has other outputs than with all tokens in one call, "
    "so training and decoding differ (capacity: {2}). Typical mistakes: positions that start at 0 in each "
    "call, a mask for the new tokens only, a cache that is not extended or too small, a statistic over the "
    "tokens of a call"
)
LATER = (
    "forward: the output of token {} depends on later tokens. Mask self-attention with `Mask(causal=True)`, "
    "pad convolutions on the left only, read in one direction, and compute no mean or norm over time"
)
PADDING = (
    "the outputs of tokens depend on padding of the source or of the target. start: pass on "
    "`memory.layout`, and compute means over its tokens only. forward: use `keep`"
)
STATE = (
    "{}: the outputs are wrong after the rows of the state were {}. All that differs between sentences must "
    "be in tensors of the state whose first dimension is the batch, not in attributes of the decoder. If "
    "the state defines `select` and `fork`, they must copy what the decoder changes in place, because "
    "hypotheses of one sentence continue differently"
)


@law(Decoder)
def incremental_outputs_equal_parallel_outputs(subject: Subject) -> None:
    """One token or four tokens at a time give the same outputs as all tokens at once."""
    decoder = subject.build(D)
    expected, _ = decoder(X, decoder.start(memory(), B, T), None)
    assert expected.shape == (B, T, D), (
        f"forward: return [B, T, D] = {(B, T, D)}, not {tuple(expected.shape)}"
    )
    for size in (1, 4):
        for capacity in (None, T):
            state = decoder.start(memory(), B, capacity)
            for start in range(0, T, size):
                part, state = decoder(X[:, start : start + size], state, None)
                problem = INCREMENTAL.format(start, size, capacity)
                assert_close(part, expected[:, start : start + size], problem)


@law(Decoder)
def outputs_do_not_depend_on_later_tokens(subject: Subject) -> None:
    """The output of a token has a gradient for this token and none for later tokens."""
    decoder, x = subject.build(D), X.clone().requires_grad_()
    outputs, _ = decoder(x, decoder.start(memory(), B, T), None)
    (gradient,) = torch.autograd.grad((outputs[:, 2] * vectors(B, D, seed=6)).sum(), x)
    assert not gradient[:, 3:].count_nonzero(), LATER.format(2)
    assert gradient[:, 2].count_nonzero(), (
        "forward: the output of a token does not depend on the token itself, which is the last one before "
        "the predicted token; do not shift or mask it"
    )


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
        assert_close(
            decoder(X, decoder.start(None, B, None), None)[0],
            expected,
            "uses_source is false, but outputs with a source differ from those without; set uses_source to "
            "true",
        )


@law(Decoder)
def padding_does_not_change_outputs(subject: Subject) -> None:
    """Outputs of tokens depend neither on padding of the source nor on padding of the target."""
    decoder = subject.build(D)
    expected, _ = decoder(X, decoder.start(memory(), B, T), KEEP)
    padded = X.masked_fill(~KEEP[..., None], 100.0)
    actual, _ = decoder(padded, decoder.start(memory(100.0), B, T), KEEP)
    assert_close(actual[KEEP], expected[KEEP], PADDING)
    for i, (s, t) in enumerate(zip(SOURCE_LENGTHS.tolist(), TARGET_LENGTHS.tolist(), strict=True)):
        states, inputs, layout = memory()
        single_layout = type(layout)(layout.keep[i : i + 1, :s], layout.positions[i : i + 1, :s])
        single_memory = Memory(states[i : i + 1, :s], inputs[i : i + 1, :s], single_layout)
        outputs, _ = decoder(X[i : i + 1, :t], decoder.start(single_memory, 1, t), None)
        assert_close(outputs[0], expected[i, :t], PADDING)


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
        assert_close(
            batch_outputs[i : i + 1],
            expected,
            f"forward: after {t} tokens and {T - t} of padding, the next tokens have other outputs than "
            "without padding. Leave padding out of the state: store `keep` with the keys of a cache, add "
            "`keep.sum(1)` and not `inputs.size(1)` to lengths, and let a recurrent state skip padding",
        )


@law(Decoder)
def sentences_do_not_influence_each_other(subject: Subject) -> None:
    """In training mode, outputs of a sentence do not depend on the other sentences."""
    decoder = subject.build(D)
    assert_sentences_are_independent(
        decoder, lambda x: decoder(x, decoder.start(memory(), B, T), None)[0], X, "forward"
    )


def _tokens(decoder: Decoder, inputs: Tensor, state: State) -> Tensor:
    """Return the outputs [B, T, D] of inputs [B, T, D], computed token by token."""
    outputs = []
    for t in range(inputs.size(1)):
        output, state = decoder(inputs[:, t : t + 1], state, None)
        outputs.append(output)
    return torch.cat(outputs, 1)


@law(Decoder)
def states_do_not_influence_each_other(subject: Subject) -> None:
    """Two states that are advanced in turns give the same outputs as one after the other."""
    decoder, inputs = subject.build(D), (X, X.flip(-1))
    expected = [_tokens(decoder, x, decoder.start(memory(), B, None)) for x in inputs]
    states: list[State] = [decoder.start(memory(), B, None) for _ in inputs]
    for t in range(T):
        for i, x in enumerate(inputs):
            outputs, states[i] = decoder(x[:, t : t + 1], states[i], None)
            assert_close(
                outputs,
                expected[i][:, t : t + 1],
                "forward: two states of one decoder influence each other. Keep what must be remembered in "
                "the returned state, not in an attribute of the decoder; `start` must create new tensors",
            )


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
    assert_close(
        decoder(X[order], start, None)[0], expected[order], STATE.format("start", "selected with seqx.rows")
    )
    _, state = decoder(X[:, :3], decoder.start(memory(), B, None), None)
    assert_close(
        decoder(X[order, 3:], rows(state, order), None)[0],
        _last_outputs(decoder)[order],
        STATE.format("forward", "selected with seqx.rows"),
    )


@law(Decoder)
def rows_of_a_state_can_be_forked(subject: Subject) -> None:
    """Each hypothesis of a beam continues as if it were alone, also after hypotheses were reordered."""
    decoder, twice = subject.build(D), torch.arange(B).repeat_interleave(2)
    new = vectors(2 * B, 2, D, seed=7)  # other tokens for each hypothesis
    for order in (torch.tensor([1, 1, 2, 3, 5, 4, 6, 6]), torch.tensor([7, 0, 2, 2, 1, 6, 5, 4])):
        parents = twice[order]
        source = Memory(*(rows(part, parents) for part in memory()))
        _, state = decoder(X[parents, :3], decoder.start(source, 2 * B, None), None)
        expected = _tokens(decoder, new, state)
        _, state = decoder(X[twice, :3], fork(decoder.start(memory(), B, None), 2), None)
        outputs = _tokens(decoder, new, rows(state, order))
        assert_close(outputs, expected, STATE.format("forward", "forked with seqx.fork"))


@law(Decoder)
def packed_rows_give_the_same_outputs(subject: Subject) -> None:
    """With `reads_packed_rows`, sentences in one row have the same outputs as in rows of their own."""
    decoder = subject.build(D)
    if decoder.reads_packed_rows:
        states, inputs, _ = memory()
        expected = []
        for i, (s, t) in enumerate(zip(SOURCE_LENGTHS.tolist(), TARGET_LENGTHS.tolist(), strict=True)):
            source_layout = packed_layout(torch.tensor([s]))._replace(segments=None)
            single = Memory(states[i : i + 1, :s], inputs[i : i + 1, :s], source_layout)
            expected.append(decoder(X[i : i + 1, :t], decoder.start(single, 1, t), None)[0][0])
        states, inputs = (packed(part, SOURCE_LENGTHS) for part in (states, inputs))
        row = Memory(states, inputs, packed_layout(SOURCE_LENGTHS)) if decoder.uses_source else None
        actual = decoder.read(packed(X, TARGET_LENGTHS), row, packed_layout(TARGET_LENGTHS))
        assert_close(actual[0], torch.cat(expected), PACKED)
