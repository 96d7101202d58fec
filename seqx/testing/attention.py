"""Laws of attention: masks, time, and the independence of queries and sentences."""

import torch
from torch import Tensor

from seqx.interfaces.networks import Attention, Positioned
from seqx.interfaces.tensors import KeyValue, Layout, Mask
from seqx.testing.checks import assert_close, assert_sentences_are_independent
from seqx.testing.law import Subject, law
from seqx.testing.network import Sample, add_network_laws
from seqx.testing.samples import (
    MEMORY,
    SOURCE_LENGTHS,
    TARGET_LENGTHS,
    B,
    D,
    S,
    T,
    layout,
    memory,
    packed,
    packed_layout,
    vectors,
)

CAUSAL = Mask(causal=True)
QUERIES, SOURCE_QUERIES = vectors(B, T, D), vectors(B, S, D)
TARGET_LAYOUT = layout(TARGET_LENGTHS, T)
WITHOUT_PADDING = Positioned.unordered(layout(torch.full((B,), T), T))


def queries_for_memory(attention: Attention) -> tuple[Tensor, Positioned]:
    """Return queries for MEMORY and their layout; self-attention gets as many queries as keys."""
    try:
        attention.check(None)
    except ValueError:
        return SOURCE_QUERIES, Positioned.unordered(MEMORY.layout)
    return QUERIES, Positioned.unordered(TARGET_LAYOUT)


def _outputs(attention: Attention) -> Tensor:
    """Return the outputs [N, D] of all queries that are not padding, with MEMORY as keys and values."""
    queries, positioned = queries_for_memory(attention)
    projected = attention.project(MEMORY.states, MEMORY.states, Positioned.unordered(MEMORY.layout))
    return attention(queries, positioned, projected, Mask())[positioned.layout.keep]


add_network_laws(
    Attention, Sample(_outputs, [D], (QUERIES, SOURCE_QUERIES, MEMORY.states, MEMORY.layout.keep))
)

PADDING = (
    "forward: the outputs depend on {} of padding. Mask the scores with `mask.dense(positioned.layout, "
    "memory.layout)` before the softmax, with a large negative number such as `torch.finfo(dtype).min / 2`, "
    "not -10; sum over keys, or divide by their number, only where the mask is true"
)


@law(Attention)
def padded_keys_do_not_change_outputs(subject: Subject) -> None:
    """Outputs depend neither on keys and values of padding nor on the amount of padding."""
    attention = subject.build(D)
    queries, positioned = queries_for_memory(attention)
    outputs = []
    for padding in (0.0, 100.0):
        states, _, key_layout = memory(padding)
        projected = attention.project(states, states, Positioned.unordered(key_layout))
        outputs.append(attention(queries, positioned, projected, Mask()))
    keep = positioned.layout.keep
    assert_close(outputs[1][keep], outputs[0][keep], PADDING.format("the keys and values"))
    for i, length in enumerate(SOURCE_LENGTHS.tolist()):
        states, _, key_layout = memory(0.0)
        count = length if queries is SOURCE_QUERIES else int(TARGET_LENGTHS[i])
        single_keys = Positioned.unordered(_part(key_layout, i, length))
        single_states = states[i : i + 1, :length]
        projected = attention.project(single_states, single_states, single_keys)
        single = Positioned.unordered(_part(positioned.layout, i, count))
        actual = attention(queries[i : i + 1, :count], single, projected, Mask())
        assert_close(actual[0], outputs[0][i, :count], PADDING.format("the amount"))


def _part(whole: Layout, sentence: int, length: int) -> Layout:
    """Return the layout of the first tokens of one sentence."""
    return Layout(
        whole.keep[sentence : sentence + 1, :length], whole.positions[sentence : sentence + 1, :length]
    )


@law(Attention)
def outputs_without_visible_keys_are_finite(subject: Subject) -> None:
    """A sentence that is all padding gives finite outputs and gradients."""
    attention = subject.build(D)
    queries, positioned = queries_for_memory(attention)
    all_padding = Positioned.unordered(Layout.of(torch.zeros(B, S, dtype=torch.bool)))
    states = memory().states.requires_grad_()
    outputs = attention(queries, positioned, attention.project(states, states, all_padding), Mask())
    outputs.sum().backward()
    is_finite = outputs.isfinite().all() and (states.grad is None or states.grad.isfinite().all())
    assert is_finite, (
        "forward: if all keys are padding, outputs or gradients are not finite, so one empty sentence makes "
        "the whole update NaN; mask with `torch.finfo(dtype).min / 2`, not with minus infinity, and divide "
        "only by sums that are not 0"
    )


@law(Attention)
def outputs_do_not_depend_on_later_tokens(subject: Subject) -> None:
    """With a causal mask, the output of a token has no gradient for later tokens, even with large scores."""
    attention = subject.build(D)
    for scale in (1.0, 100.0):
        x = (scale * vectors(B, T, D)).requires_grad_()
        projected = attention.project(x, x, WITHOUT_PADDING)
        outputs = attention(x, WITHOUT_PADDING, projected, CAUSAL)
        (gradient,) = torch.autograd.grad(outputs[:, 2].square().sum(), x)
        reached = gradient.abs().sum((0, 2)).nonzero()[:, 0].tolist()
        assert max(reached, default=0) <= 2, (
            f"the output at position 2 depends on the tokens at positions {reached}, at a scale of the "
            f"inputs of {scale:g}. forward: mask the scores with `mask.dense(positioned.layout, "
            "memory.layout)`, which is true at and before the position of the query, with a large negative "
            "number such as `torch.finfo(dtype).min / 2`, not -10; take the softmax over the keys "
            "(`dim=-1`). project: treat each token by itself, without means or norms over time"
        )


@law(Attention)
def forbidden_pairs_do_not_change_outputs(subject: Subject) -> None:
    """The output of a query has no gradient for a key that the matrix `allowed` of the mask forbids."""
    attention = subject.build(D)
    forbidden = torch.eye(T, dtype=torch.bool).roll(1, 1)  # each query must not attend to the next key
    x = vectors(B, T, D, seed=7).requires_grad_()
    projected = attention.project(x, x, WITHOUT_PADDING)
    outputs = attention(vectors(B, T, D), WITHOUT_PADDING, projected, Mask(allowed=~forbidden[None]))
    for t in range(T):
        (gradient,) = torch.autograd.grad(outputs[:, t].square().sum(), x, retain_graph=True)
        assert not gradient[:, forbidden[t]].any(), (
            "forward: a query attends to a key that `mask.allowed` forbids. The hypotheses of a sentence "
            "share keys in a search, and this matrix says which of them each hypothesis sees. Use "
            "`mask.dense`, or read `allowed` besides `causal` and `window`"
        )


@law(Attention)
def incremental_outputs_equal_parallel_outputs(subject: Subject) -> None:
    """Keys and values extended token by token give the same outputs as those projected at once."""
    attention, x, whole = subject.build(D), vectors(B, T, D), WITHOUT_PADDING.layout
    parallel = attention.project(x, x, WITHOUT_PADDING)
    expected = attention(x, WITHOUT_PADDING, parallel, CAUSAL)
    past: KeyValue | None = None
    for t in range(T):
        token = x[:, t : t + 1]
        token_layout = Layout(whole.keep[:, t : t + 1], whole.positions[:, t : t + 1])
        new = attention.project(token, token, Positioned.unordered(token_layout))
        past = new if past is None else past.extend(new)
        actual = attention(token, Positioned.unordered(token_layout), past, CAUSAL)
        same_keys = past.keys.allclose(parallel.keys[..., : t + 1, :], rtol=1e-4, atol=1e-5)
        assert_close(
            actual,
            expected[:, t : t + 1],
            f"the output of token {t} differs between training and decoding token by token. "
            + (
                "forward: it uses the number of keys or of queries, their indices instead of positions, or a "
                "statistic over time; only keys that the mask shows may count"
                if same_keys
                else "project: the key of a token depends on other tokens or on its index; normalise over "
                "features (`dim=-1`), not over time"
            ),
        )


@law(Attention)
def queries_do_not_influence_each_other(subject: Subject) -> None:
    """Some of the queries alone get the same outputs as among all queries."""
    attention = subject.build(D)
    queries, positioned = queries_for_memory(attention)
    projected = attention.project(MEMORY.states, MEMORY.states, Positioned.unordered(MEMORY.layout))
    expected = attention(queries, positioned, projected, Mask())
    part = slice(1, 3)
    alone = Positioned.unordered(Layout(*(x[:, part] for x in positioned.layout[:2])))
    assert_close(
        attention(queries[:, part], alone, projected, Mask())[alone.layout.keep],
        expected[:, part][alone.layout.keep],
        "forward: the output of a query depends on the other queries of its sentence; take the softmax over "
        "the keys (`dim=-1`, not `dim=-2`), and no mean or norm over the queries",
    )


@law(Attention)
def sentences_do_not_influence_each_other(subject: Subject) -> None:
    """In training mode, outputs of a sentence do not depend on the other sentences."""
    attention = subject.build(D)

    def run(x: Tensor) -> Tensor:
        projected = attention.project(x, x, WITHOUT_PADDING)
        return attention(x, WITHOUT_PADDING, projected, CAUSAL)

    assert_sentences_are_independent(attention, run, vectors(B, T, D), "project or forward")


@law(Attention)
def values_are_gathered(subject: Subject) -> None:
    """Other values give other outputs."""
    attention = subject.build(D)
    queries, positioned = queries_for_memory(attention)
    outputs = []
    for values in (MEMORY.states, MEMORY.inputs):
        projected = attention.project(MEMORY.states, values, Positioned.unordered(MEMORY.layout))
        outputs.append(attention(queries, positioned, projected, Mask())[positioned.layout.keep])
    assert (outputs[1] - outputs[0]).abs().max() > 1e-3, (
        "project: other values with the same keys give the same outputs; project the argument `values`, not "
        "`keys`, to `KeyValue.values`"
    )


@law(Attention)
def shared_masks_do_not_change_outputs(subject: Subject) -> None:
    """`prepare` and a shared mask do not change outputs."""
    attention, positioned = subject.build(D), Positioned.unordered(TARGET_LAYOUT)
    memory = attention.project(QUERIES, QUERIES, positioned)
    shared = CAUSAL.share(TARGET_LAYOUT, TARGET_LAYOUT)
    attention.prepare(QUERIES, positioned, TARGET_LAYOUT, shared)
    expected, actual = (attention(QUERIES, positioned, memory, mask) for mask in (CAUSAL, shared))
    assert_close(
        actual,
        expected,
        "prepare: outputs with the mask that a stack shares differ from those with a mask of their own; "
        "compute shared forms with `mask.form`",
    )


PACKED = (
    "reads_packed_rows is true, but queries attend to keys of other segments. Mask the scores with "
    "`mask.dense(positioned.layout, memory.layout)`, which reads `layout.segments`; otherwise set it to false"
)


@law(Attention)
def packed_rows_do_not_mix_segments(subject: Subject) -> None:
    """With `reads_packed_rows`, outputs do not depend on keys and values of other segments of a row."""
    attention = subject.build(D)
    if not attention.reads_packed_rows:
        return
    queries, positioned = queries_for_memory(attention)
    lengths = positioned.layout.keep.sum(1)
    row, states = Positioned.unordered(packed_layout(lengths)), packed(MEMORY.states, SOURCE_LENGTHS)
    # Self-attention gets the same layout for queries and keys.
    keys = row if queries is SOURCE_QUERIES else Positioned.unordered(packed_layout(SOURCE_LENGTHS))
    first = int(SOURCE_LENGTHS[0])
    changed = torch.cat([states[:, :first], states[:, first:].flip(-1)], 1)
    expected, actual = (
        attention(packed(queries, lengths), row, attention.project(x, x, keys), Mask())[:, : int(lengths[0])]
        for x in (states, changed)
    )
    assert_close(actual, expected, PACKED)
