"""Traces of searches: the hypotheses of each step, and which of them were kept, finished and pruned."""

import pytest
import torch

import seqx
from seqx_search import Beam, Greedy, Sampling
from tests.plugins.search.toy import Toy, logprob, sources

SENTENCES = [[4], [5, 6], [6]]
LIMITS = torch.tensor([7, 3, 5])


@pytest.mark.parametrize(
    "search", [Beam(size=3, nbest=2), Greedy(), Sampling()], ids=lambda s: type(s).__name__
)
def test_trace_has_each_step_of_each_hypothesis(search: seqx.Search) -> None:
    model, trace = Toy(spread=1.5), seqx.SearchTrace(3)
    found = search(model, sources(*SENTENCES), LIMITS, None, None, trace)
    assert found == search(model, sources(*SENTENCES), LIMITS)
    for sentence, hypotheses, steps, limit in zip(
        SENTENCES, found, trace.steps, LIMITS.tolist(), strict=True
    ):
        assert 0 < len(steps) <= limit + 1
        kept: list[list[int]] = [[]]
        for length, step in enumerate(steps, 1):
            assert all(len(h.ids) == length and h.ids[:-1] in kept for h in step)
            kept = [h.ids for h in step if h.outcome == "kept"]
            assert len(kept) <= search.width
        finished = {tuple(h.ids): h for step in steps for h in step if h.outcome == "finished"}
        for hypothesis in hypotheses:
            traced = finished[*hypothesis.ids, seqx.EOS]
            assert (traced.score, traced.logprob) == (hypothesis.score, hypothesis.logprob)
            assert traced.logprob == pytest.approx(logprob(model, sentence, hypothesis.ids), abs=1e-5)


def test_beam_trace_has_the_pruned_hypotheses() -> None:
    model, trace = Toy(spread=1.5), seqx.SearchTrace(1)
    Beam(size=2)(model, sources([4]), torch.tensor([6]), None, None, trace)
    for step in trace.steps[0][1:]:
        assert len(step) == 4
        kept = [h.score for h in step if h.outcome == "kept"]
        pruned = [h.score for h in step if h.outcome == "pruned" and h.ids[-1] != seqx.EOS]
        assert max(pruned, default=-torch.inf) <= min(kept)
    assert any(h.outcome == "pruned" for step in trace.steps[0] for h in step)
