"""Samples follow the distribution of the model, and depend only on seed and sentence."""

import math
from collections import Counter

import pytest
import torch

import seqx
from seqx_search import Greedy, Sampling
from tests.plugins.search.toy import Toy, logprob, outputs, sources


def test_sampling_frequencies_are_the_probabilities_of_the_model() -> None:
    """The 4,000 sentences differ only in tokens that the model ignores, so they have one distribution."""
    model = Toy(spread=1.5)
    model.table[..., : seqx.EOS] = -torch.inf  # never drawn, so that the other probabilities sum to 1
    sentences = [[4, *(3 + int(digit) for digit in f"{n:b}")] for n in range(4000)]
    found = Sampling()(model, sources(*sentences), torch.full((4000,), 2))
    counts = Counter(tuple(h[0].ids) for h in found)
    for ids in outputs(1):
        probability = math.exp(logprob(model, [4], ids))
        standard_error = (probability * (1 - probability) / 4000) ** 0.5
        assert abs(counts[ids] / 4000 - probability) < 4 * standard_error + 1e-9


def test_samples_depend_only_on_seed_and_sentence() -> None:
    model, sentences = Toy(), [[4], [5, 4], [6, 3, 3], [3]]
    together = Sampling()(model, sources(*sentences), torch.tensor([6, 9, 12, 40]))
    assert together[:2] == Sampling()(model, sources(*sentences[:2]), torch.tensor([6, 9]))
    assert together[::-1] == Sampling()(model, sources(*sentences[::-1]), torch.tensor([40, 12, 9, 6]))
    other = Sampling(seed=1)(model, sources(*sentences), torch.tensor([6, 9, 12, 40]))
    assert [h[0].ids for h in other] != [h[0].ids for h in together]


@pytest.mark.parametrize("sampling", [Sampling(top_k=1), Sampling(top_p=1e-6), Sampling(temperature=1e-4)])
def test_narrowest_sampling_equals_greedy(sampling: Sampling) -> None:
    model, source, limits = Toy(), sources([4], [5], [6, 5]), torch.tensor([8, 8, 3])
    assert [h[0].ids for h in sampling(model, source, limits)] == [
        h[0].ids for h in Greedy()(model, source, limits)
    ]


def test_top_k_and_top_p_keep_the_most_probable_symbols() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05], [0.05, 0.15, 0.3, 0.5]]).log()
    kept = Sampling(top_k=2)._probabilities(logits)
    torch.testing.assert_close(kept[0], torch.tensor([0.625, 0.375, 0, 0], dtype=torch.float64))
    for top_p, count in ((0.4, 1), (0.51, 2), (0.79, 2), (0.81, 3), (1.0, 4)):
        assert (Sampling(top_p=top_p)._probabilities(logits) > 0).sum(1).tolist() == [count, count]


def test_samples_have_the_logprob_of_forced_decoding() -> None:
    model = Toy()
    hypothesis = Sampling(temperature=3.0, top_k=3)(model, sources([5]), torch.tensor([7]))[0][0]
    assert (
        hypothesis.score == hypothesis.logprob == pytest.approx(logprob(model, [5], hypothesis.ids), abs=1e-5)
    )
    assert seqx.EOS not in hypothesis.ids


def test_logits_that_are_not_finite_are_one_message() -> None:
    model = Toy()
    model.table[...] = math.nan
    with pytest.raises(seqx.UserError, match="the logits of the model are not finite"):
        Sampling(top_p=0.9)(model, sources([4], [5]), torch.tensor([5, 5]))
