"""Laws of searches."""

import torch
from torch import Tensor

from seqx.interfaces.learning import Grammar, Search
from seqx.interfaces.tensors import EOS, State, Tokens, rows
from seqx.testing.law import Subject, law
from seqx.testing.samples import SIZE, SIZES, SOURCE
from seqx.testing.toy import Toy

CERTAIN = Toy(SIZES, margin=40.0)  # so certain that sampling finds the best hypothesis
LIMITS = torch.tensor([20, 20, 20, 20])


def _answers(search: Search, model: Toy, source: Tokens, limits: Tensor) -> list[list[int]]:
    """Return the ids of the best hypothesis of each sentence."""
    torch.manual_seed(0)
    return [list(best[0].ids) for best in search(model, source, limits)]


def _copies(source: Tokens) -> list[list[int]]:
    """Return the ids of each source sentence without EOS, which a model that copies should write."""
    return [ids[keep][:-1].tolist() for ids, keep in zip(source.ids, source.layout.keep, strict=True)]


@law(Search)
def finds_the_best_hypothesis(subject: Subject) -> None:
    """A search finds the output of a nearly certain model, with its log-probability; lists are sorted."""
    torch.manual_seed(0)
    answers = subject.build()(CERTAIN, SOURCE, LIMITS)
    assert [list(best[0].ids) for best in answers] == _copies(SOURCE)
    for hypotheses in answers:
        assert [h.score for h in hypotheses] == sorted((h.score for h in hypotheses), reverse=True)
        assert abs(hypotheses[0].logprob) < 1e-3


@law(Search)
def respects_length_limits(subject: Subject) -> None:
    """Answers of a model that never predicts EOS have at most as many tokens as the limit, which may be 0."""
    limits = torch.tensor([3, 0, 5, 1])
    answers = _answers(subject.build(), Toy(SIZES, margin=40.0, endless=True), SOURCE, limits)
    assert all(len(ids) <= limit for ids, limit in zip(answers, limits.tolist(), strict=True)), answers
    assert not any(EOS in ids for ids in answers)


@law(Search)
def answers_do_not_depend_on_the_batch(subject: Subject) -> None:
    """The answer to a sentence depends neither on its position in the batch nor on the other sentences."""
    search, order = subject.build(), torch.tensor([3, 1, 2, 0])
    reordered = Tokens(SOURCE.ids[order], rows(SOURCE.layout, order))
    expected = _answers(search, CERTAIN, SOURCE, LIMITS)
    assert _answers(search, CERTAIN, reordered, LIMITS) == [expected[i] for i in order.tolist()]
    single = Tokens(SOURCE.ids[1:2], rows(SOURCE.layout, torch.tensor([1])))
    assert _answers(search, CERTAIN, single, LIMITS[1:2]) == expected[1:2]


@law(Search)
def limits_do_not_decrease_with_the_source(subject: Subject) -> None:
    """There is a limit of at least 1 for each sentence; a longer source has no smaller limit."""
    lengths = torch.tensor([1, 2, 10, 100])
    limits = subject.build().max_lengths(lengths)
    assert limits.shape == lengths.shape
    assert limits.dtype == torch.int64
    assert (limits >= 1).all()
    assert (limits.diff() >= 0).all()


class _Countdown(Grammar):
    """A grammar with one output: 4 4 EOS."""

    def start(self, rows: int, max_lengths: Tensor) -> State:
        return torch.zeros(rows, dtype=torch.int64)

    def allowed(self, state: State) -> Tensor:
        return torch.arange(SIZE) == torch.where(state < 2, 4, EOS)[:, None]

    def advance(self, state: State, tokens: Tensor) -> State:
        return state + 1


class _DeadEnd(_Countdown):
    """A countdown that allows the first sentence no symbol after its first 4."""

    def start(self, rows: int, max_lengths: Tensor) -> State:
        return super().start(rows, max_lengths), torch.arange(rows) == 0

    def allowed(self, state: State) -> Tensor:
        count, has_dead_end = state
        return super().allowed(count) & ~(has_dead_end & (count > 0))[:, None]

    def advance(self, state: State, tokens: Tensor) -> State:
        count, has_dead_end = state
        return count + 1, has_dead_end


@law(Search)
def drops_hypotheses_without_allowed_symbols(subject: Subject) -> None:
    """A sentence without any allowed symbol has no answer; all other sentences have answers."""
    torch.manual_seed(0)
    first, *others = subject.build()(Toy(SIZES), SOURCE, LIMITS, _DeadEnd())
    assert list(first) == []
    assert all(others), others


@law(Search)
def obeys_the_grammar(subject: Subject) -> None:
    """A search writes only symbols that the grammar allows, however improbable they are."""
    torch.manual_seed(0)
    answers = subject.build()(Toy(SIZES), SOURCE, LIMITS, _Countdown())
    assert all(list(h.ids) == [4, 4] for hypotheses in answers for h in hypotheses), answers
