"""The search of a probe, with the models of the tests of searches."""

import pytest
import torch

import seqx
from seqx_plan.assumed_search import AssumedSearch
from seqx_search import Beam, Greedy
from tests.plugins.search.toy import Toy, sources


@pytest.mark.parametrize("search", [Beam(size=3), Greedy()])
def test_answers_of_a_probe_have_the_assumed_lengths(search: seqx.Search) -> None:
    """The first answer of a batch is 2.5 times as long as the others: ceil(10 * 2 * 1.15 * 2.5) + 1."""
    assumed = AssumedSearch(search, ratio=2.0)
    lengths = torch.tensor([10, 10, 4])
    limits = assumed.max_lengths(lengths)
    assert limits.tolist() == [59, 24, 11]
    source = sources([3] * 10, [4] * 10, [5] * 4)
    found = assumed(Toy(seed=1), source, limits)
    assert [len(hypotheses[0].ids) for hypotheses in found] == limits.tolist()
    assert [len(h[0].ids) for h in search(Toy(seed=1), source, limits)] != limits.tolist()


def test_answers_of_a_probe_are_not_longer_than_the_search_allows() -> None:
    limits = AssumedSearch(Greedy(ratio=0.0, extra=5), ratio=1.0).max_lengths(torch.tensor([3, 20]))
    assert limits.tolist() == [5, 5]
