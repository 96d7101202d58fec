"""Score processors: what they forbid, and that searches obey them and keep the model's log-probabilities."""

import itertools
from collections.abc import Sequence

import pytest
import torch

import seqx
from seqx_search import Beam, Greedy, MinLength, NoRepeatNgram, RepetitionPenalty, Sampling
from tests.plugins.search.test_beam import NoRepeats, ranked
from tests.plugins.search.toy import VOCABULARY, Toy, logprob, sources

SOURCES = sources([4], [5, 6], [6], [3, 4])
LIMITS = torch.tensor([12, 9, 14, 12])
SCORES = torch.log_softmax(torch.randn(2, VOCABULARY, generator=torch.Generator().manual_seed(1)), 1)


def forbidden(processor: seqx.ScoreProcessor, ids: list[list[int]]) -> list[set[int]]:
    """Return the symbols that a processor forbids after each row of ids; PAD is left out."""
    scores = processor(SCORES[: len(ids)], torch.tensor(ids).view(len(ids), -1))
    return [set((row == -torch.inf).nonzero()[:, 0].tolist()) - {seqx.PAD} for row in scores]


def searches(*processors: seqx.ScoreProcessor) -> list[seqx.Search]:
    chosen = list(processors)
    return [Beam(size=4, nbest=4, processors=chosen), Greedy(processors=chosen), Sampling(processors=chosen)]


def ngrams(ids: Sequence[int], size: int) -> list[tuple[int, ...]]:
    return [tuple(ids[i : i + size]) for i in range(len(ids) - size + 1)]


def test_min_length_forbids_eos_until_the_length_is_reached() -> None:
    assert [forbidden(MinLength(length=2), [[4] * n]) for n in range(4)] == [
        [{seqx.EOS}],
        [{seqx.EOS}],
        [set()],
        [set()],
    ]


def test_no_repeat_ngram_forbids_what_followed_the_same_symbols() -> None:
    assert forbidden(NoRepeatNgram(size=3), [[4, 5, 6, 4, 5], [4, 5, 6, 5, 4]]) == [{6}, set()]
    assert forbidden(NoRepeatNgram(size=2), [[4, 5, 4, 6, 4], [4, 4, 5, 6, 5]]) == [{5, 6}, {6}]
    assert forbidden(NoRepeatNgram(size=1), [[4, 6], [5, 5]]) == [{4, 6}, {5}]
    assert forbidden(NoRepeatNgram(size=3), [[4, 5]]) == forbidden(NoRepeatNgram(size=1), [[]]) == [set()]


def test_repetition_penalty_multiplies_the_log_probabilities_of_written_symbols() -> None:
    changed = RepetitionPenalty(penalty=1.5)(SCORES, torch.tensor([[4, 4], [5, 6]]))
    expected = SCORES.clone()
    expected[0, 4] *= 1.5
    expected[1, 5:7] *= 1.5
    torch.testing.assert_close(changed, expected)


@pytest.mark.parametrize("search", searches(MinLength(length=6)), ids=lambda search: type(search).__name__)
def test_searches_obey_the_minimum_length_and_the_maximum_length(search: seqx.Search) -> None:
    found = search(Toy(), SOURCES, torch.tensor([12, 9, 3, 0]))
    assert [min(len(h.ids) for h in hypotheses) >= 6 for hypotheses in found[:2]] == [True, True]
    assert [{len(h.ids) for h in hypotheses} for hypotheses in found[2:]] == [{3}, {0}]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_searches_write_no_ngram_twice(size: int) -> None:
    processors = MinLength(length=3), NoRepeatNgram(size=size)
    for search in searches(*processors):
        for hypotheses in search(Toy(), SOURCES, LIMITS):
            for hypothesis in hypotheses:
                assert len(set(ngrams(hypothesis.ids, size))) == len(ngrams(hypothesis.ids, size))
    repeated = [h for hs in Greedy()(Toy(), SOURCES, LIMITS) for h in hs if len(set(h.ids)) < len(h.ids)]
    assert repeated  # without processors the model repeats symbols


def test_beam_with_processors_equals_exhaustive_search() -> None:
    model, beam = Toy(seed=1, spread=2.0), Beam(size=625, nbest=5, processors=[NoRepeatNgram(size=2)])
    (found,) = beam(model, sources([4]), torch.tensor([4]))
    allowed = [
        ids for _, ids in ranked(beam, model, [4], 4) if len(set(ngrams(ids, 2))) == len(ngrams(ids, 2))
    ]
    assert [h.ids for h in found] == allowed[:5]


def test_hypotheses_have_the_logprob_of_the_model_and_the_score_of_the_processors() -> None:
    model, penalty = Toy(spread=1.5), RepetitionPenalty(penalty=2.0)
    for search in searches(penalty):
        for hypotheses, source in zip(
            search(model, SOURCES, LIMITS), [[4], [5, 6], [6], [3, 4]], strict=True
        ):
            for h in hypotheses:
                assert h.logprob == pytest.approx(logprob(model, source, h.ids), abs=1e-4)
    repeating = [
        h
        for hypotheses in searches(penalty)[0](model, SOURCES, LIMITS)
        for h in hypotheses
        if len(set(h.ids)) < len(h.ids)
    ]
    assert repeating
    for h in repeating:
        assert h.score < h.logprob / Beam().penalty(len(h.ids) + 1) - 1e-3


def test_grammar_and_processors_apply_together() -> None:
    for search in searches(MinLength(length=4)):
        for hypotheses in search(Toy(), SOURCES, LIMITS, NoRepeats()):
            for h in hypotheses:
                assert len(h.ids) >= 4
                assert all(a != b for a, b in itertools.pairwise(h.ids))


class Nothing(seqx.ScoreProcessor):
    """A processor that forbids everything after the first symbol."""

    def __call__(self, scores: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        return scores.masked_fill(torch.tensor(ids.size(1) > 0), -torch.inf)


def test_sentence_whose_hypotheses_are_all_forbidden_has_no_answer() -> None:
    for search in searches(MinLength(length=1), Nothing()):
        assert search(Toy(), SOURCES, LIMITS) == [[], [], [], []]
