"""Laws of attention: its weights, and its use of positional encodings.

Letters in shapes: B sentences, T queries, S keys, H heads, G groups of heads, K the width of a head.
"""

import torch
from torch import Tensor

from seqx.interfaces.networks import Attention, PositionalEncoding, Positioned
from seqx.interfaces.tensors import Layout, Mask
from seqx.testing.attention import CAUSAL, QUERIES, TARGET_LAYOUT, WITHOUT_PADDING, queries_for_memory
from seqx.testing.law import Subject, law
from seqx.testing.samples import MEMORY, B, D, T, vectors


@law(Attention)
def weights_are_probabilities(subject: Subject) -> None:
    """Attention weights, if there are any, are at least 0, sum to 1 and are 0 on masked keys."""
    attention = subject.build(D)
    self_attention = (QUERIES, Positioned.unordered(TARGET_LAYOUT), CAUSAL, TARGET_LAYOUT)
    to_memory = (*queries_for_memory(attention), Mask(), MEMORY.layout)
    for queries, positioned, mask, key_layout in (self_attention, to_memory):
        keys = vectors(B, key_layout.keep.size(1), D, seed=3)
        memory = attention.project(keys, keys, Positioned.unordered(key_layout))
        weights = attention.weights(queries, positioned, memory, mask)
        if weights is None:
            return
        shape = (B, attention.heads, queries.size(1), key_layout.keep.size(1))
        assert weights.shape == shape, f"weights: return [B, H, T, S] = {shape}, not {tuple(weights.shape)}"
        probabilities = weights.transpose(1, 2)[positioned.layout.keep]  # [N, H, S]
        sums = probabilities.sum(-1)
        are_probabilities = (weights >= 0).all() and (sums - 1).abs().max() < 1e-4
        assert are_probabilities, (
            "weights: the weights of a query must be at least 0 and sum to 1; the smallest is "
            f"{weights.min():.3g}, the sums are between {sums.min():.3g} and {sums.max():.3g}. Take the "
            "softmax over the keys (`dim=-1`), and leave out dropout"
        )
        hidden = ~mask.dense(positioned.layout, key_layout).transpose(1, 2)[positioned.layout.keep]
        assert not probabilities.masked_select(hidden).count_nonzero(), (
            "weights: masked keys have weights; mask the scores as in `forward`"
        )


class _Hiding(PositionalEncoding):
    """Hides the keys at even positions from all queries but those at the same position."""

    def bias(self, q: Tensor, k: Tensor, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        keys, queries = k_positions[:, None, None, :], q_positions[:, None, :, None]
        return torch.where((keys % 2 == 0) & (keys != queries), -1e9, 0.0)


@law(Attention)
def weights_are_those_of_forward(subject: Subject) -> None:
    """The output of a query depends on the values of exactly the keys that have a weight."""
    attention = subject.build(D)
    encoding: PositionalEncoding = _Hiding(D, attention.heads)
    try:
        attention.check(encoding)
    except ValueError:
        encoding = PositionalEncoding(D, attention.heads)
    positioned = Positioned(encoding, WITHOUT_PADDING.layout)
    memory = attention.project(QUERIES, QUERIES, positioned)
    weights = attention.weights(QUERIES, positioned, memory, CAUSAL)
    if weights is None:
        return
    values = memory.values.detach().requires_grad_()
    outputs = attention(QUERIES, positioned, memory._replace(values=values), CAUSAL)
    for t in range(T):
        loss = outputs[:, t].square().sum()
        (gradient,) = torch.autograd.grad(loss, values, retain_graph=True)
        used = gradient.abs().sum((1, 3)) > 0  # [B, S]
        largest = weights[:, :, t].amax(1)
        differ = (used & (largest == 0)) | (~used & (largest > 1e-3))
        assert not differ.any(), (
            f"weights: the output of query {t} depends on the values of the keys "
            f"{used[0].nonzero()[:, 0].tolist()}, but the weights of the keys are "
            f"{[round(w, 3) for w in largest[0].tolist()]}; compute the weights as in `forward`, with the "
            "same mask and `positioned.bias`"
        )


def _moved(x: Tensor, positions: Tensor) -> Tensor:
    """Return vectors [B, H, T, K] that have other lengths and directions at each position.

    Attention that normalises its queries and keys (cosine attention, QK-norm) depends on directions alone.
    A layer norm also removes the mean, so the vector that is added is not constant.
    """
    at = positions[:, None, :, None]
    return (x + at * torch.linspace(-1, 1, x.size(-1), dtype=x.dtype, device=x.device)) * (1 + at)


class _Queries(PositionalEncoding):
    def query(self, q: Tensor, positions: Tensor) -> Tensor:
        return _moved(q, positions)


class _Keys(PositionalEncoding):
    def key(self, k: Tensor, positions: Tensor) -> Tensor:
        return _moved(k, positions)


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
    calls = {_Queries: "query", _Keys: "key", _Scores: "bias", _Values: "values"}
    for cls, call in calls.items():
        encoding = cls(D, attention.heads)
        try:
            attention.check(encoding)
        except ValueError:
            continue
        assert (encoded_outputs(encoding) - unencoded).abs().max() > 1e-3, (
            f"positional encodings of {cls.__name__.strip('_').lower()} are ignored; call "
            f"`positioned.{call}`, or reject them in `check`"
        )


class _Recorder(PositionalEncoding):
    """Replaces queries and keys by other vectors, and records the arguments of each call of `bias`."""

    factor = 1.0  # of the queries
    queries, keys = torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, 1)

    def __init__(self, d_model: int, heads: int) -> None:
        super().__init__(d_model, heads)
        self.calls: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []

    def query(self, q: Tensor, positions: Tensor) -> Tensor:
        self.queries = self.factor * vectors(*q.shape, seed=8)
        return self.queries

    def key(self, k: Tensor, positions: Tensor) -> Tensor:
        self.keys = vectors(*k.shape, seed=9)
        return self.keys

    def bias(self, q: Tensor, k: Tensor, q_positions: Tensor, k_positions: Tensor) -> None:
        self.calls.append((q, k, q_positions, k_positions))


POSITIONS = (
    "bias gets other positions than those of the {}; call `positioned.bias(q, memory)` with the layout of "
    "the queries in `positioned`"
)


@law(Attention)
@torch.no_grad()
def bias_gets_the_queries_and_keys_of_the_scores(subject: Subject) -> None:
    """`PositionalEncoding.bias` gets the queries and keys from which the scores are computed."""
    attention = subject.build(D)
    encoding = _Recorder(D, attention.heads)
    try:
        attention.check(encoding)
    except ValueError:
        return
    whole = Positioned(encoding, WITHOUT_PADDING.layout)
    last = whole._replace(layout=Layout(*(x[:, -2:] for x in whole.layout[:2])))

    def scores(factor: float) -> Tensor | None:
        """Return the scores [B, H, T, S] of `factor` times the queries, up to a constant for each query."""
        encoding.factor, encoding.calls = factor, []
        memory = attention.project(QUERIES, QUERIES, whole)
        attention(QUERIES[:, -2:], last, memory, Mask())
        weights = attention.weights(QUERIES[:, -2:], last, memory, Mask())
        return None if weights is None else _centred(weights.double().log())

    twice, once = scores(2.0), scores(1.0)
    are_products = once is not None and twice is not None and twice.allclose(2 * once, atol=1e-3)
    for q, k, q_positions, k_positions in encoding.calls:
        assert q_positions.equal(last.layout.positions), POSITIONS.format("queries")
        assert k_positions.equal(whole.layout.positions), POSITIONS.format("keys")
        if once is not None and are_products:
            are_same = _centred(q.double() @ k.double().mT).allclose(once, atol=1e-3)
        else:
            are_same = _are_parallel(q, encoding.queries) and _are_parallel(k, encoding.keys)
        assert are_same, (
            "bias gets other queries or keys than those of the scores, so encodings that compare them with "
            "positions, such as Shaw's, compute wrong scores. Pass `positioned.bias` the queries after "
            "`positioned.query` and after the division by the scale of the scores, and the keys of `project`"
        )


def _centred(scores: Tensor) -> Tensor:
    """Return scores [B, H, T, S] whose mean over the keys is 0."""
    return scores - scores.mean(-1, keepdim=True)


def _are_parallel(x: Tensor, y: Tensor) -> bool:
    """Return true if vectors [B, H, T, K] and those of groups of heads [B, G, T, K] are parallel."""
    of_heads = y.repeat_interleave(x.size(1) // y.size(1), 1)
    return bool((torch.cosine_similarity(x, of_heads, -1) > 1 - 1e-4).all())
