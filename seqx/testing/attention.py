"""Laws of attention."""

import torch
from torch import Tensor

from seqx.interfaces.networks import Attention, PositionalEncoding, Positioned
from seqx.interfaces.tensors import KeyValue, Layout, Mask
from seqx.testing import checks
from seqx.testing.law import Subject, law
from seqx.testing.samples import MEMORY, TARGET_LENGTHS, B, D, S, T, layout, memory, vectors

CAUSAL = Mask(causal=True)
QUERIES, SOURCE_QUERIES = vectors(B, T, D), vectors(B, S, D)
TARGET_LAYOUT = layout(TARGET_LENGTHS, T)


def _queries(attention: Attention) -> tuple[Tensor, Positioned]:
    """Return queries for MEMORY and their layout; self-attention gets as many queries as keys."""
    try:
        attention.check(None)
    except ValueError:
        return SOURCE_QUERIES, Positioned.unordered(MEMORY.layout)
    return QUERIES, Positioned.unordered(TARGET_LAYOUT)


def _outputs(attention: Attention) -> Tensor:
    """Return the outputs [N, D] of all queries that are not padding, with MEMORY as keys and values."""
    queries, positioned = _queries(attention)
    projected = attention.project(MEMORY.states, MEMORY.states, Positioned.unordered(MEMORY.layout))
    return attention(queries, positioned, projected, Mask())[positioned.layout.keep]


@law(Attention)
def padded_keys_do_not_change_outputs(subject: Subject) -> None:
    """Outputs do not depend on keys and values of padding."""
    attention = subject.build(D)
    queries, positioned = _queries(attention)
    outputs = []
    for padding in (0.0, 100.0):
        states, _, key_layout = memory(padding)
        projected = attention.project(states, states, Positioned.unordered(key_layout))
        outputs.append(attention(queries, positioned, projected, Mask())[positioned.layout.keep])
    checks.assert_close(outputs[1], outputs[0])


@law(Attention)
def outputs_without_visible_keys_are_finite(subject: Subject) -> None:
    """A sentence that is all padding gives finite outputs and gradients."""
    attention = subject.build(D)
    queries, positioned = _queries(attention)
    all_padding = Positioned.unordered(Layout.of(torch.zeros(B, S, dtype=torch.bool)))
    states = memory().states.requires_grad_()
    outputs = attention(queries, positioned, attention.project(states, states, all_padding), Mask())
    outputs.sum().backward()
    advice = "mask scores with a large negative number instead of -inf"
    assert outputs.isfinite().all(), f"outputs of queries without visible keys are not finite; {advice}"
    is_finite = states.grad is None or states.grad.isfinite().all()
    assert is_finite, f"gradients of queries without visible keys are not finite; {advice}"


@law(Attention)
def outputs_do_not_depend_on_later_tokens(subject: Subject) -> None:
    """With a causal mask, the output of a token has no gradient for later tokens."""
    attention, positioned = subject.build(D), Positioned.unordered(layout(torch.full((B,), T), T))
    x = vectors(B, T, D).requires_grad_()
    outputs = attention(x, positioned, attention.project(x, x, positioned), CAUSAL)
    (gradient,) = torch.autograd.grad(outputs[:, 2].square().sum(), x)
    assert not gradient[:, 3:].count_nonzero(), (
        "a token attends to later tokens; mask the scores with `mask.dense`"
    )


@law(Attention)
def incremental_outputs_equal_parallel_outputs(subject: Subject) -> None:
    """Keys and values extended token by token give the same outputs as those projected at once."""
    attention, x, whole = subject.build(D), vectors(B, T, D), layout(torch.full((B,), T), T)
    positioned = Positioned.unordered(whole)
    expected = attention(x, positioned, attention.project(x, x, positioned), CAUSAL)
    past: KeyValue | None = None
    for t in range(T):
        token = x[:, t : t + 1]
        token_positioned = Positioned.unordered(
            Layout(whole.keep[:, t : t + 1], whole.positions[:, t : t + 1])
        )
        new = attention.project(token, token, token_positioned)
        past = new if past is None else past.extend(new)
        checks.assert_close(attention(token, token_positioned, past, CAUSAL), expected[:, t : t + 1])


@law(Attention)
def weights_are_probabilities(subject: Subject) -> None:
    """Attention weights, if there are any, are at least 0, sum to 1 and are 0 on masked keys."""
    attention = subject.build(D)
    self_attention = (QUERIES, Positioned.unordered(TARGET_LAYOUT), CAUSAL, TARGET_LAYOUT)
    to_memory = (*_queries(attention), Mask(), MEMORY.layout)
    for queries, positioned, mask, key_layout in (self_attention, to_memory):
        keys = vectors(B, key_layout.keep.size(1), D, seed=3)
        memory = attention.project(keys, keys, Positioned.unordered(key_layout))
        weights = attention.weights(queries, positioned, memory, mask)
        if weights is None:
            return
        shape = (B, attention.heads, queries.size(1), key_layout.keep.size(1))
        assert weights.shape == shape, f"`weights` has the shape {tuple(weights.shape)}, not {shape}"
        assert (weights >= 0).all(), "`weights` has negative values; return probabilities, not scores"
        probabilities = weights.transpose(1, 2)[positioned.layout.keep]  # [N, H, S]
        torch.testing.assert_close(probabilities.sum(-1), torch.ones(probabilities.shape[:2]))
        hidden = ~mask.dense(positioned.layout, key_layout).transpose(1, 2)
        hidden = hidden[positioned.layout.keep]  # [N, 1, S]
        assert not probabilities.masked_select(hidden).count_nonzero(), (
            "`weights` is not 0 on masked keys; apply the mask as in `forward`"
        )


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
def positions_are_used_or_rejected(subject: Subject) -> None:
    """A positional encoding of queries, keys, scores or values changes the outputs, or `check` rejects it."""
    attention, full_layout = subject.build(D), Layout.of(torch.ones(B, T, dtype=torch.bool))

    def encoded_outputs(encoding: PositionalEncoding) -> Tensor:
        positioned = Positioned(encoding, full_layout)
        projected = attention.project(QUERIES, QUERIES, positioned)
        _Values.width = projected.values.size(-1)
        return attention(QUERIES, positioned, projected, Mask())

    unencoded = encoded_outputs(PositionalEncoding(D, attention.heads))
    for cls in (_Queries, _Keys, _Scores, _Values):
        encoding = cls(D, attention.heads)
        try:
            attention.check(encoding)
        except ValueError:
            continue
        point = cls.__name__.strip("_").lower()
        is_used = (encoded_outputs(encoding) - unencoded).abs().max() > 1e-3
        assert is_used, (
            f"positional encodings of {point} are ignored; use `positioned`, or reject them in `check`"
        )


@law(Attention)
def every_parameter_gets_a_gradient(subject: Subject) -> None:
    """Each trained parameter gets a gradient that is not all zeros."""
    checks.check_gradients(subject.build(D), _outputs)


@law(Attention)
def state_dict_round_trip(subject: Subject) -> None:
    """The state dict determines the outputs."""
    checks.check_state_dict(subject, _outputs, D)


@law(Attention)
def bfloat16_agrees(subject: Subject) -> None:
    """Outputs under bfloat16 autocast are close to those in float32."""
    checks.check_bfloat16(subject.build(D), _outputs)


@law(Attention)
def compiles(subject: Subject) -> None:
    """The component compiles to one graph and gives the same outputs."""
    checks.check_compilation(subject.build(D), _outputs)
