"""Laws of kernels, which `seqx.testing.laws` checks once this module is imported. They need pytest.

    import seqx.testing
    import seqx_transformer.testing
    import seqx_mine

    test_laws = seqx.testing.laws(seqx_mine)

Letters in shapes: B sentences, T queries, S keys, H heads, K the width of a head.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

import seqx
from seqx.testing import Subject, law
from seqx_transformer.kernels.kernel import Eager, HeadInputs, Kernel
from seqx_transformer.layers import Dropout

B, T, S, H, K = 3, 6, 7, 2, 8


class _ValueTerm(seqx.PositionalEncoding):
    def values(self, weights: Tensor, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        return (weights @ k_positions[:, None, :, None].float()).expand(-1, -1, -1, K)


def _layout(length: int, lengths: list[int], *, segments: bool = False) -> seqx.Layout:
    keep = torch.arange(length) < torch.tensor(lengths)[:, None]
    layout = seqx.Layout.of(keep)
    return layout._replace(segments=layout.positions // 4) if segments else layout


def _inputs(mask: seqx.Mask, *, segments: bool = False, gradients: bool = False) -> HeadInputs:
    """Return seeded inputs, in which the sentences have different lengths."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(B, H, n, K, generator=generator, requires_grad=gradients) for n in (T, S, S))
    keys = _layout(S, [7, 4, 1], segments=segments)
    queries = seqx.Positioned.unordered(_layout(T, [6, 5, 2], segments=segments))
    return HeadInputs(q, seqx.KeyValue(k, v, keys), queries, mask, None, Dropout(0.0).eval())


def _term() -> Tensor:
    return torch.randn(1, H, T, S, generator=torch.Generator().manual_seed(1))


def _cases() -> Iterator[HeadInputs]:
    """Yield inputs with each form of mask, with segments, and with a positional term."""
    allowed = torch.randint(2, (B, T, S), generator=torch.Generator().manual_seed(2)) > 0
    masks = (seqx.Mask(), seqx.Mask(causal=True), seqx.Mask(window=2), seqx.Mask(allowed=allowed))
    for mask in (*masks, seqx.Mask(causal=True, window=3)):
        yield _inputs(mask)
    yield _inputs(seqx.Mask(causal=True), segments=True)
    yield _inputs(seqx.Mask(causal=True))._replace(positional=_term())


def _with_groups(inputs: HeadInputs) -> HeadInputs:
    """Return inputs of twice as many heads, of which two share keys and values."""
    queries = torch.cat([inputs.queries, inputs.queries.flip(-1)], 1)
    positional = inputs.positional
    if positional is not None:
        positional = torch.cat([positional, positional.flip(-1)], 1)
    return inputs._replace(queries=queries, positional=positional)


def _has_keys(inputs: HeadInputs) -> Tensor:
    """Return [B, 1, T, 1], true for queries that may attend to a key."""
    visible = inputs.mask.dense(inputs.positioned.layout, inputs.memory.layout)
    return visible.any(-1, keepdim=True)


@law(Kernel)
def outputs_equal_those_of_eager(subject: Subject) -> None:
    """The kernel agrees with `eager` on all inputs that it does not reject, and accepts some."""
    kernel: Kernel = subject.build()
    accepted = [inputs for inputs in _cases() if kernel.limitation(inputs) is None]
    assert accepted, "`limitation` rejects all inputs on a CPU; accept at least float32 without gradients"
    if kernel.reads_groups:
        accepted += [_with_groups(inputs) for inputs in accepted]
    for inputs in accepted:
        has_keys = _has_keys(inputs)
        expected, actual = (run(inputs).masked_fill(~has_keys, 0) for run in (Eager(), kernel))
        largest = (actual - expected).abs().max()
        assert largest < 1e-4, f"outputs differ from those of `eager` by {largest:.2g} with {inputs.mask}"


@law(Kernel)
def outputs_without_visible_keys_are_finite(subject: Subject) -> None:
    """Queries that may attend to no key have finite outputs."""
    kernel: Kernel = subject.build()
    inputs = _inputs(seqx.Mask(allowed=torch.zeros(1, 1, 1, dtype=torch.bool)))
    if kernel.limitation(inputs) is None:
        assert kernel(inputs).isfinite().all(), "outputs of queries without visible keys are not finite"


@law(Kernel)
def gradients_equal_those_of_eager(subject: Subject) -> None:
    """Gradients agree with those of `eager`, unless `limitation` rejects inputs that require them."""
    kernel: Kernel = subject.build()
    gradients: list[list[Tensor | None]] = []
    for run in (Eager(), kernel):
        inputs = _inputs(seqx.Mask(causal=True), gradients=True)
        term = _term().requires_grad_()
        for with_term in (inputs, inputs._replace(positional=term)):
            if kernel.limitation(with_term) is None:
                torch.autograd.backward(run(with_term).square().sum())
        leaves = (inputs.queries, inputs.memory.keys, inputs.memory.values, term)
        gradients.append([leaf.grad for leaf in leaves])
    for expected, actual in zip(*gradients, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


@law(Kernel)
def other_scores_and_value_terms_are_applied_or_rejected(subject: Subject) -> None:
    """Scores other than dot products, and terms added to the values, are applied or rejected."""
    kernel: Kernel = subject.build()
    inputs = _inputs(seqx.Mask())
    encoding = _ValueTerm(H * K, H)
    for changed in (
        inputs._replace(scores=lambda q, k: q.mul(2) @ k.mT),
        inputs._replace(positioned=inputs.positioned._replace(encoding=encoding)),
    ):
        if kernel.limitation(changed) is None:
            torch.testing.assert_close(kernel(changed), Eager()(changed), rtol=1e-4, atol=1e-5)


@law(Kernel)
def dropout_is_applied_or_rejected(subject: Subject) -> None:
    """With dropout in training, weights are dropped, or `limitation` rejects the inputs."""
    kernel: Kernel = subject.build()
    inputs = _inputs(seqx.Mask())._replace(dropout=Dropout(0.5).train())
    if kernel.limitation(inputs) is None:
        assert not kernel(inputs).equal(kernel(inputs)), "dropout of attention weights is ignored"


@law(Kernel)
def shared_masks_do_not_change_outputs(subject: Subject) -> None:
    """`prepare` and a shared mask do not change outputs."""
    kernel: Kernel = subject.build()
    inputs = _inputs(seqx.Mask(causal=True, window=3))
    if kernel.limitation(inputs) is not None:
        return
    queries, keys = inputs.positioned.layout, inputs.memory.layout
    mask = inputs.mask.share(queries, keys)
    kernel.prepare(queries, keys, mask, inputs.queries)
    torch.testing.assert_close(kernel(inputs._replace(mask=mask)), kernel(inputs))
