"""Beam search compared with exhaustive search, forced decoding and the length penalty of the paper."""

import itertools
import math

import pytest
import torch
from torch import Tensor

import seqx
from seqx_search import Beam, Greedy
from tests.plugins.search.toy import VOCABULARY, Toy, logprob, logprobs, outputs, sources

LIMIT = 4
ALL_PREFIXES = 5**LIMIT  # the number of sequences of LIMIT symbols: UNK, three letters and EOS


def ranked(beam: Beam, model: seqx.Generator, source: list[int], limit: int) -> list[tuple[float, list[int]]]:
    """Return every output with its score, best first."""
    possible = outputs(limit)
    scored = zip(possible, logprobs(model, source, possible), strict=True)
    return sorted(((score / beam.penalty(len(ids) + 1), list(ids)) for ids, score in scored), reverse=True)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0])
@pytest.mark.parametrize("seed", range(4))
def test_unlimited_beam_equals_exhaustive_search(seed: int, alpha: float) -> None:
    model = Toy(seed=seed, spread=2.0)
    beam = Beam(size=ALL_PREFIXES, alpha=alpha, nbest=10)
    (found,) = beam(model, sources([4]), torch.tensor([LIMIT]))
    expected = ranked(beam, model, [4], LIMIT)[:10]
    assert [h.ids for h in found] == [ids for _, ids in expected]
    assert [h.score for h in found] == pytest.approx([score for score, _ in expected], abs=1e-5)


def test_small_beam_is_never_better_than_exhaustive_search() -> None:
    beam, gaps = Beam(size=2, alpha=0.6), []
    for seed in range(20):
        model = Toy(seed=seed, spread=2.0)
        (best,) = beam(model, sources([5]), torch.tensor([LIMIT]))[0]
        gaps.append(ranked(beam, model, [5], LIMIT)[0][0] - best.score)
    assert min(gaps) > -1e-5
    assert max(gaps) > 0.01  # else the test could not tell a beam from exhaustive search


def test_beam_has_the_length_penalty_of_the_paper() -> None:
    """The table has ((5 + length) / 6)^0.6. The length counts EOS, so "a b" has length 3."""
    table = {1: 1.0, 2: 1.0969, 3: 1.1884, 7: 1.5157, 13: 1.9332, 25: 2.6265, 55: 3.9811}
    assert {n: round(Beam(alpha=0.6).penalty(n), 4) for n in table} == table
    model = Toy()
    for hypothesis in Beam(size=5, nbest=5, alpha=0.6)(model, sources([4]), torch.tensor([12]))[0]:
        length = len(hypothesis.ids) + 1
        assert hypothesis.score == pytest.approx(hypothesis.logprob / ((5 + length) / 6) ** 0.6, abs=1e-5)


def test_beam_has_the_logprob_of_forced_decoding() -> None:
    model = Toy(spread=1.5)
    for hypothesis in Beam(size=6, nbest=6)(model, sources([6, 4]), torch.tensor([9]))[0]:
        assert hypothesis.logprob == pytest.approx(logprob(model, [6, 4], hypothesis.ids), abs=1e-5)


def test_beam_nbest_is_sorted_and_distinct() -> None:
    (found,) = Beam(size=8, nbest=8, alpha=1.0)(Toy(), sources([4]), torch.tensor([10]))
    assert len(found) == 8
    assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)
    assert len({tuple(h.ids) for h in found}) == 8


def test_beam_returns_fewer_hypotheses_if_there_are_fewer() -> None:
    (found,) = Beam(size=50, nbest=50)(Toy(), sources([4]), torch.tensor([1]))
    assert sorted(h.ids for h in found) == [[], [3], [4], [5], [6]]


@pytest.mark.parametrize("limit", [0, 1, 2, 5])
def test_beam_keeps_the_maximum_length_and_scores_the_last_token(limit: int) -> None:
    model = NeverEnds()
    for search in (Beam(size=3), Greedy()):
        hypothesis = search(model, sources([4]), torch.tensor([limit]))[0][0]
        assert len(hypothesis.ids) == limit
        assert hypothesis.logprob == pytest.approx(logprob(model, [4], hypothesis.ids), rel=1e-6)
        assert hypothesis.logprob < -15  # EOS is forced, although it is very improbable


def test_beam_keeps_the_maximum_length_of_each_sentence() -> None:
    found = Beam(size=3)(NeverEnds(), sources([4], [5], [6]), torch.tensor([4, 1, 7]))
    assert [len(hypotheses[0].ids) for hypotheses in found] == [4, 1, 7]


@pytest.mark.parametrize("seed", range(8))
def test_greedy_equals_a_beam_of_size_one(seed: int) -> None:
    model, source, limits = Toy(seed=seed), sources([4], [5, 6], [6]), torch.tensor([12, 3, 9])
    greedy, beam = Greedy()(model, source, limits), Beam(size=1, alpha=0.0)(model, source, limits)
    assert [h[0].ids for h in greedy] == [h[0].ids for h in beam]
    assert [h[0].score for h in greedy] == pytest.approx([h[0].score for h in beam], abs=1e-5)


def test_beam_stops_when_no_better_hypothesis_is_possible() -> None:
    """The model writes two letters and EOS with certainty, so the search stops after three steps."""
    model = Chain([4, 5, seqx.EOS])
    found = Beam(size=4, alpha=0.6)(model, sources([4]), torch.tensor([50]))
    assert found[0][0].ids == [4, 5]
    assert model.steps == 3


def test_beam_continues_while_a_better_hypothesis_is_possible() -> None:
    """The short answer finishes first and is more probable. With the length penalty the long answer wins."""
    model = TwoAnswers(short=math.log(0.55), long=math.log(0.45), length=12)
    assert len(Beam(size=2, alpha=0.0)(model, sources([4]), torch.tensor([50]))[0][0].ids) == 1
    first_steps = model.steps
    assert len(Beam(size=2, alpha=1.0)(model, sources([4]), torch.tensor([50]))[0][0].ids) == 12
    assert first_steps < 5 < model.steps - first_steps


def test_beam_does_not_depend_on_the_order_of_the_batch() -> None:
    sentences = [[4], [5, 4, 3], [6, 6], [3], [5], [6, 4, 4, 4]]
    limits = [9, 2, 6, 0, 12, 4]
    model, beam = Toy(spread=1.5), Beam(size=3, nbest=3)
    in_order = beam(model, sources(*sentences), torch.tensor(limits))
    in_reverse = beam(model, sources(*sentences[::-1]), torch.tensor(limits[::-1]))
    alone = [beam(model, sources(s), torch.tensor([n]))[0] for s, n in zip(sentences, limits, strict=True)]
    assert in_order == in_reverse[::-1] == alone


def test_grammar_forbids_symbols_without_renormalizing() -> None:
    model, beam = Toy(seed=1), Beam(size=ALL_PREFIXES, nbest=3)
    (found,) = beam(model, sources([4]), torch.tensor([LIMIT]), NoRepeats())
    allowed = [
        (score, ids)
        for score, ids in ranked(beam, model, [4], LIMIT)
        if all(a != b for a, b in itertools.pairwise(ids))
    ]
    assert [h.ids for h in found] == [ids for _, ids in allowed[:3]]
    assert [h.score for h in found] == pytest.approx([score for score, _ in allowed[:3]], abs=1e-5)
    greedy = Greedy()(model, sources([4], [5]), torch.tensor([20, 30]), NoRepeats())
    assert all(a != b for (h,) in greedy for a, b in itertools.pairwise(h.ids))


def test_search_reports_logits_that_are_not_finite() -> None:
    model = Toy()
    model.table.fill_(torch.nan)
    with pytest.raises(seqx.UserError, match="not finite"):
        Beam()(model, sources([4]), torch.tensor([5]))
    with pytest.raises(seqx.UserError, match="not finite"):
        Greedy()(model, sources([4]), torch.tensor([5]))


def test_beam_rejects_inconsistent_settings() -> None:
    with pytest.raises(ValueError, match="nbest is 5, but size is only 4; set size to 5 or more"):
        Beam(size=4, nbest=5)
    with pytest.raises(ValueError, match="empty"):
        Beam(ratio=0.0, extra=0)


def test_default_maximum_length_is_that_of_the_paper() -> None:
    assert Beam().max_lengths(torch.tensor([0, 1, 27])).tolist() == [50, 51, 77]
    assert Greedy(ratio=1.5, extra=3).max_lengths(torch.tensor([0, 1, 10])).tolist() == [3, 4, 18]


class Chain(Toy):
    """A model that writes given tokens with certainty, for any source."""

    def __init__(self, tokens: list[int]) -> None:
        super().__init__()
        self.logits = torch.full((len(tokens) + 1, VOCABULARY), -30.0)
        for step, token in enumerate(tokens):
            self.logits[step, token] = 30

    def start(self, memory: seqx.State, capacity: int | None) -> seqx.State:
        return torch.zeros(len(memory), dtype=torch.int64)

    def advance(self, ids: Tensor, state: seqx.State, keep: Tensor | None) -> tuple[Tensor, seqx.State]:
        self.steps += 1
        positions = state[:, None] + torch.arange(ids.size(1))
        return positions.clamp_max(len(self.logits) - 1)[..., None], state + ids.size(1)

    def head(self, outputs: Tensor) -> Tensor:
        return self.logits[outputs[..., 0]]


class NeverEnds(Chain):
    """A model for which the end of a sentence is very improbable."""

    def __init__(self) -> None:
        super().__init__([])
        self.logits = torch.tensor([[-20.0, -20, -20, 0, 0.1, 0.2, 0.3]])


class TwoAnswers(Toy):
    """A model with two answers: one letter 4, or `length` letters 5. Only the first letter is uncertain."""

    def __init__(self, *, short: float, long: float, length: int) -> None:
        super().__init__()
        self.first, self.length = {4: short, 5: long}, length

    def start(self, memory: seqx.State, capacity: int | None) -> seqx.State:
        return torch.zeros(len(memory), dtype=torch.int64)

    def advance(self, ids: Tensor, state: seqx.State, keep: Tensor | None) -> tuple[Tensor, seqx.State]:
        self.steps += 1
        return torch.stack([ids, state[:, None]], -1), state + 1

    def head(self, outputs: Tensor) -> Tensor:
        logits = torch.full((*outputs.shape[:-1], VOCABULARY), -60.0)
        for row, (last, written) in zip(logits, outputs.tolist(), strict=True):
            if written == 0:
                for token, value in self.first.items():
                    row[token] = value
            else:
                row[5 if last == 5 and written < self.length else seqx.EOS] = 0
        return logits


class NoRepeats(seqx.Grammar):
    """A grammar that forbids the same symbol twice in a row."""

    def start(self, rows: int, limits: Tensor) -> seqx.State:
        return torch.full((rows,), seqx.BOS)

    def allowed(self, state: seqx.State) -> Tensor:
        letters = torch.arange(VOCABULARY)
        return (letters != state[:, None]) | (letters == seqx.EOS)

    def advance(self, state: seqx.State, tokens: Tensor) -> seqx.State:
        return tokens
