"""Laws of positional encodings.

Letters in shapes: B sentences, T queries, S keys, D = d_model, H heads, K the width of a head.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from seqx.interfaces.networks import PositionalEncoding
from seqx.testing.checks import assert_close
from seqx.testing.law import Subject, law
from seqx.testing.network import Sample, add_network_laws
from seqx.testing.samples import B, D, T, vectors

H, K = 2, 8
X, Q, KEYS = vectors(B, T, D), vectors(B, H, T, K, seed=1), vectors(B, H, T, K, seed=2)
WEIGHTS = vectors(B, H, T, T, seed=3).softmax(-1)
POSITIONS = torch.arange(T).repeat(B, 1)


class _Part(NamedTuple):
    """Some of the sentences, queries and keys of the sample."""

    sentences: slice = slice(None)
    queries: slice = slice(None)
    keys: slice = slice(None)


def _results(
    encoding: PositionalEncoding, positions: Tensor, part: _Part, weights: Tensor = WEIGHTS
) -> dict[str, Tensor]:
    """Return the results of all methods for a part of the sample, without those that are None.

    Args:
        encoding: the encoding
        positions: positions of queries and keys [B, T]
        part: the sentences, queries and keys that are passed
        weights: attention weights [B, H, T, S] of the whole sample
    """
    b, t, s = part
    of_queries, of_keys = positions[b, t], positions[b, s]
    q, k, w = Q[b, :, t], KEYS[b, :, s], weights[b, :, t, s]
    bias = encoding.bias(q, k, of_queries, of_keys)
    results = {
        "embed": encoding.embed(X[b, t], of_queries),
        "query": encoding.query(q, of_queries),
        "key": encoding.key(k, of_keys),
        "bias": None if bias is None else bias.expand_as(w),
        "values": encoding.values(w, of_queries, of_keys),
    }
    return {name: result for name, result in results.items() if result is not None}


def _assert_same(encoding: PositionalEncoding, positions: Tensor, part: _Part, problem: str) -> None:
    """Assert that a part of the sample alone has the same results as in the whole sample."""
    b, t, s = part
    weights = torch.zeros_like(WEIGHTS)
    weights[b, :, t, s] = WEIGHTS[b, :, t, s]
    whole = _results(encoding, positions, _Part(), weights)
    expected: Mapping[str, Tensor] = {
        name: result[b, t] if name == "embed" else result[b, :, s if name == "key" else t]
        for name, result in whole.items()
    }
    for name, result in _results(encoding, positions, part).items():
        assert_close(
            result, expected[name][..., s] if name == "bias" else expected[name], f"{name}: {problem}"
        )


def _all_results(encoding: PositionalEncoding) -> Tensor:
    """Return all results for the whole sample in one tensor [N]."""
    return torch.cat([result.flatten() for result in _results(encoding, POSITIONS, _Part()).values()])


add_network_laws(PositionalEncoding, Sample(_all_results, [D, H], (X, Q, KEYS, WEIGHTS, POSITIONS)))


@law(PositionalEncoding)
def encoding_depends_on_positions_only(subject: Subject) -> None:
    """Later tokens are encoded alike with and without the earlier tokens in the tensor."""
    problem = (
        "the result depends on the indices of tokens in the tensor, or on other tokens; use the positions "
        "that are passed, not `torch.arange(x.size(1))`, and no mean or norm over time. In a search a token "
        "is encoded alone, at its position"
    )
    _assert_same(subject.build(D, H), POSITIONS, _Part(queries=slice(3, None), keys=slice(2, None)), problem)


@law(PositionalEncoding)
def each_sentence_has_its_own_positions(subject: Subject) -> None:
    """Sentences of a batch may start at different positions."""
    problem = (
        "a sentence alone is encoded differently than in a batch whose sentences are at other positions; "
        "use the positions of each sentence, not `positions[0]`"
    )
    encoding, shifted = subject.build(D, H), POSITIONS + torch.arange(B)[:, None]
    for i in range(B):
        _assert_same(encoding, shifted, _Part(sentences=slice(i, i + 1)), problem)


@law(PositionalEncoding)
def check_accepts_the_width_of_the_terms(subject: Subject) -> None:
    """`check` accepts the widths of keys and values that `bias` and `values` support, and no others."""
    encoding: PositionalEncoding = subject.build(D, H)
    for d_k, d_v in ((K, K), (K + 1, K), (K, K + 1)):
        accepted, fitting = _accepts(encoding, d_k, d_v), _fits(encoding, d_k, d_v)
        assert accepted == fitting, (
            f"check: it {'accepts' if accepted else 'refuses'} keys of width {d_k} with values of width "
            f"{d_v}, but `bias` and `values` {'support' if fitting else 'do not support'} them; compare them "
            "with the widths of the encoding's own vectors"
        )


def _accepts(encoding: PositionalEncoding, d_k: int, d_v: int) -> bool:
    """Return true if `check` accepts these widths."""
    try:
        encoding.check(d_k, d_v)
    except ValueError:
        return False
    return True


def _fits(encoding: PositionalEncoding, d_k: int, d_v: int) -> bool:
    """Return true if `bias` can be computed, and the result of `values`, if any, has the width d_v."""
    try:
        encoding.bias(vectors(B, H, T, d_k), vectors(B, H, T, d_k, seed=1), POSITIONS, POSITIONS)
    except (ValueError, RuntimeError):
        return False
    added = encoding.values(WEIGHTS, POSITIONS, POSITIONS)
    return added is None or added.size(-1) == d_v


@law(PositionalEncoding)
def prepared_encoding_gives_the_same_results(subject: Subject) -> None:
    """`prepare` changes no result, at the prepared positions or at others."""
    encoding = subject.build(D, H)
    expected = _results(encoding, POSITIONS, _Part())
    for prepared_for in (POSITIONS, POSITIONS + 1):
        for name, result in _results(encoding.prepare(prepared_for), POSITIONS, _Part()).items():
            assert_close(
                result,
                expected[name],
                f"prepare: `{name}` of the prepared encoding differs from that of the encoding; use prepared "
                "values only if `positions` is the tensor that was prepared",
            )
