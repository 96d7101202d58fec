"""Laws of searches."""

import torch
from torch import Tensor

from seqx.interfaces.learning import Grammar, Search
from seqx.interfaces.tensors import EOS, Column, State, rows
from seqx.testing.law import Subject, law
from seqx.testing.samples import SIZE, SIZES, SOURCE
from seqx.testing.toy import Toy

CERTAIN = Toy(SIZES, margin=40.0)  # so certain that sampling finds the best hypothesis
LIMITS = torch.tensor([20, 20, 20, 20])


def _answers(search: Search, model: Toy, source: Column, limits: Tensor) -> list[list[int]]:
    """Return the ids of the best hypothesis of each sentence."""
    torch.manual_seed(0)
    return [list(best[0].ids) for best in search(model, source, limits)]


def _copies(source: Column) -> list[list[int]]:
    """Return the ids of each source sentence without EOS, which a model that copies should write."""
    return [ids[keep][:-1].tolist() for ids, keep in zip(source.values, source.layout.keep, strict=True)]


@law(Search)
def finds_the_best_hypothesis(subject: Subject) -> None:
    """A search finds the output of a nearly certain model, with its log-probability; lists are sorted."""
    torch.manual_seed(0)
    answers = subject.build()(CERTAIN, SOURCE, LIMITS)
    found, expected = [list(best[0].ids) for best in answers], _copies(SOURCE)
    assert found == expected, f"the search found {found} instead of the certain outputs {expected}"
    for hypotheses in answers:
        scores = [h.score for h in hypotheses]
        assert scores == sorted(scores, reverse=True), f"hypotheses are not sorted by score: {scores}"
        logprob = hypotheses[0].logprob
        assert abs(logprob) < 1e-3, f"the log-probability of a certain output is {logprob}, not 0"


@law(Search)
def respects_length_limits(subject: Subject) -> None:
    """Answers of a model that never predicts EOS have at most as many tokens as the limit, which may be 0."""
    limits = torch.tensor([3, 0, 5, 1])
    answers = _answers(subject.build(), Toy(SIZES, margin=40.0, endless=True), SOURCE, limits)
    lengths = [len(ids) for ids in answers]
    assert all(torch.tensor(lengths) <= limits), (
        f"outputs of {lengths} tokens exceed the limits {limits.tolist()}"
    )
    assert not any(EOS in ids for ids in answers), (
        f"ids of hypotheses contain EOS ({EOS}): {answers}; leave it out"
    )


@law(Search)
def answers_do_not_depend_on_the_batch(subject: Subject) -> None:
    """The answer to a sentence depends neither on its position in the batch nor on the other sentences."""
    search, order = subject.build(), torch.tensor([3, 1, 2, 0])
    reordered = Column(SOURCE.values[order], rows(SOURCE.layout, order))
    expected = _answers(search, CERTAIN, SOURCE, LIMITS)
    found = _answers(search, CERTAIN, reordered, LIMITS)
    assert found == [expected[i] for i in order.tolist()], "answers depend on the order of the batch"
    single = Column(SOURCE.values[1:2], rows(SOURCE.layout, torch.tensor([1])))
    found = _answers(search, CERTAIN, single, LIMITS[1:2])
    assert found == expected[1:2], "an answer depends on the other sentences of the batch"


@law(Search)
def limits_do_not_decrease_with_the_source(subject: Subject) -> None:
    """There is a limit of at least 1 for each sentence; a longer source has no smaller limit."""
    lengths = torch.tensor([1, 2, 10, 100])
    limits = subject.build().max_lengths(lengths)
    assert limits.shape == lengths.shape, f"`max_lengths` has the shape {tuple(limits.shape)}, not [B]"
    assert limits.dtype == torch.int64, f"`max_lengths` returns {limits.dtype}, not torch.int64"
    assert (limits >= 1).all(), f"`max_lengths` has a limit below 1: {limits.tolist()}"
    assert (limits.diff() >= 0).all(), f"a longer source has a smaller limit: {limits.tolist()}"


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
    assert list(first) == [], f"a sentence without any allowed symbol has the hypotheses {list(first)}"
    assert all(others), f"the other sentences have allowed symbols, but not all have a hypothesis: {others}"


@law(Search)
def obeys_the_grammar(subject: Subject) -> None:
    """A search writes only symbols that the grammar allows, however improbable they are."""
    torch.manual_seed(0)
    answers = subject.build()(Toy(SIZES), SOURCE, LIMITS, _Countdown())
    found = [list(h.ids) for hypotheses in answers for h in hypotheses]
    assert all(ids == [4, 4] for ids in found), f"the grammar allows only [4, 4]; the search found {found}"
