"""The laws of searches."""

import torch
from torch import Tensor

from seqx.interfaces.learning import Grammar, Search
from seqx.interfaces.values import EOS, State, Tokens, rows
from seqx.testing.law import Subject, law
from seqx.testing.samples import SIZE, SIZES, SOURCE
from seqx.testing.toy import Toy

SURE = Toy(SIZES, sure=40.0)  # so that also a search that draws at random finds the best
LIMITS = torch.tensor([20, 20, 20, 20])


def _answers(search: Search, model: Toy, source: Tokens, limits: Tensor) -> list[list[int]]:
    torch.manual_seed(0)
    return [list(best[0].ids) for best in search(model, source, limits)]


def _wanted(source: Tokens) -> list[list[int]]:
    return [ids[keep][:-1].tolist() for ids, keep in zip(source.ids, source.layout.keep, strict=True)]


@law(Search)
def finds_the_best(subject: Subject) -> None:
    """Of a model that leaves no doubt, best first, with its probability."""
    torch.manual_seed(0)
    answers = subject.build()(SURE, SOURCE, LIMITS)
    assert [list(best[0].ids) for best in answers] == _wanted(SOURCE)
    for hypotheses in answers:
        assert [h.score for h in hypotheses] == sorted((h.score for h in hypotheses), reverse=True)
        assert abs(hypotheses[0].logprob) < 1e-3


@law(Search)
def respects_limits(subject: Subject) -> None:
    """Also with a model that never ends; a limit of 0 gives nothing."""
    limits = torch.tensor([3, 0, 5, 1])
    answers = _answers(subject.build(), Toy(SIZES, sure=40.0, endless=True), SOURCE, limits)
    assert all(len(ids) <= limit for ids, limit in zip(answers, limits.tolist(), strict=True)), answers
    assert not any(EOS in ids for ids in answers)


@law(Search)
def batch_order_does_not_matter(subject: Subject) -> None:
    """Nor what else is in the batch."""
    search, order = subject.build(), torch.tensor([3, 1, 2, 0])
    turned = Tokens(SOURCE.ids[order], rows(SOURCE.layout, order))
    expected = _answers(search, SURE, SOURCE, LIMITS)
    assert _answers(search, SURE, turned, LIMITS) == [expected[i] for i in order.tolist()]
    alone = Tokens(SOURCE.ids[1:2], rows(SOURCE.layout, torch.tensor([1])))
    assert _answers(search, SURE, alone, LIMITS[1:2]) == expected[1:2]


@law(Search)
def limits_are_sensible(subject: Subject) -> None:
    """One for each sentence, and longer sources never get less."""
    lengths = torch.tensor([1, 2, 10, 100])
    limits = subject.build().max_lengths(lengths)
    assert limits.shape == lengths.shape
    assert limits.dtype == torch.int64
    assert (limits >= 1).all()
    assert (limits.diff() >= 0).all()


class _Countdown(Grammar):
    """Answers are 4 4 EOS, whatever the model says."""

    def start(self, rows: int, limits: Tensor) -> State:
        return torch.zeros(rows, dtype=torch.int64)

    def allowed(self, state: State) -> Tensor:
        place = torch.arange(SIZE) == torch.where(state < 2, 4, EOS)[:, None]
        return place.expand(len(state), -1)

    def advance(self, state: State, tokens: Tensor) -> State:
        return state + 1


class _Impossible(_Countdown):
    """The same, but the first sentence gets stuck behind its first 4."""

    def start(self, rows: int, limits: Tensor) -> State:
        return super().start(rows, limits), torch.arange(rows) == 0

    def allowed(self, state: State) -> Tensor:
        count, stuck = state
        return super().allowed(count) & ~(stuck & (count > 0))[:, None]

    def advance(self, state: State, tokens: Tensor) -> State:
        count, stuck = state
        return count + 1, stuck


@law(Search)
def gives_up_where_nothing_is_allowed(subject: Subject) -> None:
    """Then a sentence has no answer, and the others have theirs."""
    torch.manual_seed(0)
    first, *others = subject.build()(Toy(SIZES), SOURCE, LIMITS, _Impossible())
    assert list(first) == []
    assert all(others), others


@law(Search)
def obeys_a_grammar(subject: Subject) -> None:
    """Only what is allowed is written, however improbable."""
    torch.manual_seed(0)
    answers = subject.build()(Toy(SIZES), SOURCE, LIMITS, _Countdown())
    assert all(list(h.ids) == [4, 4] for hypotheses in answers for h in hypotheses), answers
