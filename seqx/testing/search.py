"""Laws of searches."""

import torch
from torch import Tensor

from seqx.interfaces.learning import Grammar, Search
from seqx.interfaces.tensors import EOS, Batch, Column, Memory, State, rows
from seqx.testing.law import Subject, law
from seqx.testing.samples import SIZE, SIZES, SOURCE, vectors
from seqx.testing.toy import Toy

CERTAIN = Toy(SIZES, margin=40.0)  # certain enough that sampling finds the best hypothesis
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
    """A search finds the output of which a model is certain; the n-best list is sorted."""
    torch.manual_seed(0)
    answers = subject.build()(CERTAIN, SOURCE, LIMITS)
    found, expected = [list(best[0].ids) for best in answers], _copies(SOURCE)
    assert found == expected, (
        f"a model that is certain of the answers {expected} gets {found}; feed BOS first, then the token "
        "chosen last, and leave EOS out of the ids"
    )
    for hypotheses in answers:
        scores = [h.score for h in hypotheses]
        assert scores == sorted(scores, reverse=True), (
            f"sort the hypotheses by score, best first, not {scores}"
        )


class _Remembering(Toy):
    """A model whose logits depend on all tokens so far.

    Its random logits are such that the best hypotheses of a beam often have a parent that was not the best.
    """

    table = 3 * vectors(97, SIZE, seed=3)

    def start(self, memory: Memory, capacity: int | None) -> State:
        """Return the state of a toy, and a number that depends on the ids so far [B]."""
        return super().start(memory, capacity), memory.states.new_zeros(len(memory.states), dtype=torch.int64)

    def advance(self, ids: Tensor, state: State, keep: Tensor | None) -> tuple[Tensor, State]:
        """Advance by ids [B, T]; return logits [B, T, V] and the state after them."""
        toy, number = state
        numbers = number[:, None] + (7 * ids + 1).cumsum(1)
        logits, toy = super().advance(ids, toy, keep)
        return logits + self.table[numbers % len(self.table)], (toy, numbers[:, -1])


@law(Search)
@torch.no_grad()
def log_probabilities_are_those_of_the_model(subject: Subject) -> None:
    """The log-probability of a hypothesis is that of its ids and EOS under the model."""
    model, limits = _Remembering(SIZES, margin=1.0), torch.tensor([9, 9, 9, 9])
    torch.manual_seed(0)
    for i, hypotheses in enumerate(subject.build()(model, SOURCE, limits)):
        for h in hypotheses:
            ids = torch.tensor([[*h.ids, EOS]])
            source = Column.of(SOURCE.values[i : i + 1], SOURCE.layout.keep[i : i + 1].sum(1))
            target = Column.of(ids, torch.tensor([ids.size(1)]))
            each = model.score(Batch.of(source=source, target=target))[0].double()
            allowed = [float(each.sum())] + [float(each[:-1].sum())] * (len(h.ids) == limits[i])
            assert min(abs(h.logprob - value) for value in allowed) < 1e-3, (
                f"sentence {i}: the hypothesis {list(h.ids)} has the log-probability {h.logprob:.4f}, but "
                f"the model gives it {allowed[0]:.4f} with EOS. Reorder the state with `seqx.rows` by the "
                "parents of the hypotheses, add the log-probability of EOS, and apply softmax to all "
                "symbols before symbols are excluded"
            )


@law(Search)
def respects_length_limits(subject: Subject) -> None:
    """Answers of a model that never predicts EOS have at most as many tokens as the limit, which may be 0."""
    limits = torch.tensor([3, 0, 5, 1])
    answers = _answers(subject.build(), Toy(SIZES, margin=40.0, endless=True), SOURCE, limits)
    lengths = [len(ids) for ids in answers]
    assert all(length <= limit for length, limit in zip(lengths, limits.tolist(), strict=True)), (
        f"the limits are {limits.tolist()} tokens without EOS, but the answers have {lengths}; a hypothesis "
        "of this length must end"
    )
    assert not any(EOS in ids for ids in answers), "leave EOS out of the ids of a hypothesis"


@law(Search)
def answers_do_not_depend_on_the_batch(subject: Subject) -> None:
    """The answer to a sentence depends neither on its position in the batch nor on the other sentences."""
    search, order = subject.build(), torch.tensor([3, 1, 2, 0])
    reordered = Column(SOURCE.values[order], rows(SOURCE.layout, order))
    expected = _answers(search, CERTAIN, SOURCE, LIMITS)
    problem = "a sentence gets another answer {}; keep hypotheses, limits and random numbers per sentence"
    permuted = _answers(search, CERTAIN, reordered, LIMITS)
    assert permuted == [expected[i] for i in order.tolist()], problem.format("in another order of the batch")
    single = Column(SOURCE.values[1:2], rows(SOURCE.layout, torch.tensor([1])))
    assert _answers(search, CERTAIN, single, LIMITS[1:2]) == expected[1:2], problem.format("alone")


@law(Search)
def limits_do_not_decrease_with_the_source(subject: Subject) -> None:
    """There is a limit of at least 1 for each sentence; a longer source has no smaller limit."""
    lengths = torch.tensor([1, 2, 10, 100])
    limits = subject.build().max_lengths(lengths)
    assert limits.shape == lengths.shape, (
        f"max_lengths: return one limit per source, not {list(limits.shape)}"
    )
    assert limits.dtype == torch.int64, f"max_lengths: return int64, not {limits.dtype}"
    smallest_step = min(int(limits[0]) - 1, int(limits.diff().min()))
    assert smallest_step >= 0, (
        f"max_lengths: the limits of sources of {lengths.tolist()} tokens are {limits.tolist()}; they must "
        "be at least 1, and not smaller for a longer source"
    )


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
    """A sentence without any allowed symbol gets no answer; the other sentences get theirs."""
    torch.manual_seed(0)
    first, *others = subject.build()(Toy(SIZES), SOURCE, LIMITS, _DeadEnd())
    assert list(first) == [], (
        f"a sentence whose grammar allows no symbol gets the answers {list(first)}; drop such hypotheses"
    )
    assert all(others), "sentences get no answer because the grammar allows another sentence no symbol"


@law(Search)
def obeys_the_grammar(subject: Subject) -> None:
    """A search writes only symbols that the grammar allows, however improbable they are."""
    torch.manual_seed(0)
    answers = subject.build()(Toy(SIZES), SOURCE, LIMITS, _Countdown())
    written = [list(h.ids) for hypotheses in answers for h in hypotheses]
    assert all(ids == [4, 4] for ids in written), (
        f"the grammar allows only [4, 4], but the search writes {written}; choose among "
        "`grammar.allowed(state)`, and advance and reorder the state of the grammar like that of the model"
    )
