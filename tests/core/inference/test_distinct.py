"""N-best lists with different texts, and beams that are widened to find enough of them."""

from collections.abc import Mapping, Sequence

import pytest
import torch
from torch import Tensor

import seqx
from seqx.inference import Predictor
from seqx.interfaces.task import distinct
from seqx_search import Beam, Greedy, Sampling
from tests.core.inference.test_predictor import Letters
from tests.plugins.search.toy import Toy

LETTERS = "ab"


class AmbiguousLetters(Letters):
    """A task in which several tokens write the same letter."""

    max_length = 100
    written = 0

    def read(self, text: str) -> Mapping[str, list[int]]:
        return {"source": [4 + ord(letter) % 3 for letter in text]}

    def write(self, ids: Sequence[int], text: str, labels: Mapping[str, Sequence[int]]) -> str:
        self.written += 1
        return "".join(LETTERS[i % len(LETTERS)] for i in ids)


def predictor(search: seqx.Search) -> Predictor:
    return Predictor(AmbiguousLetters(), Toy(spread=2.0), search, device=torch.device("cpu"))


def test_distinct_keeps_the_best_of_equal_texts() -> None:
    scores = [("a", 5.0), ("b", 4.0), ("a", 3.0), ("", 2.0), ("b", 1.0), ("", 0.5)]
    answers = [
        seqx.Candidate(text, seqx.Hypothesis(ids=[], score=score, logprob=score)) for text, score in scores
    ]
    assert distinct(answers) == [answers[0], answers[1], answers[3]]


@pytest.mark.parametrize("nbest", [1, 2, 3, 6, 8])
@pytest.mark.parametrize("alpha", [0.0, 0.6])
def test_beam_is_widened_until_enough_texts_differ(nbest: int, alpha: float) -> None:
    texts = ["abc", "b", "cab"]
    search = Beam(size=max(nbest, 4), nbest=nbest, alpha=alpha, ratio=0, extra=4)
    nbests = list(predictor(search).hypotheses(texts))
    assert [len({text for text, _ in answers}) for answers in nbests] == [nbest] * len(texts)
    for answers in nbests:
        scores = [hypothesis.score for _, hypothesis in answers]
        assert len(answers) == nbest
        assert scores == sorted(scores, reverse=True)
        assert all(text == "".join(LETTERS[i % 2] for i in hypothesis.ids) for text, hypothesis in answers)


def test_nbest_is_shorter_if_there_are_no_more_texts() -> None:
    """Outputs of at most one token have three texts: "", "a" and "b"."""
    search = Beam(size=5, nbest=5, ratio=0, extra=1)
    (answers,) = predictor(search).hypotheses(["abc"])
    assert sorted(text for text, _ in answers) == ["", "a", "b"]


def test_inputs_with_enough_different_texts_are_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Beam, "wider", lambda _: pytest.fail("decoded again"))
    for search in (Beam(size=4, ratio=0, extra=4), Greedy(), Sampling()):
        assert all(len(answers) == 1 for answers in predictor(search).hypotheses(["abc", "b"]))


def test_nbest_keeps_its_answers_if_a_wider_beam_runs_out_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    search = Beam(size=4, nbest=4, ratio=0, extra=4)
    original_call = Beam.__call__

    def call_with_small_memory(
        self: Beam,
        model: seqx.Generator,
        source: seqx.Column,
        limits: Tensor,
        grammar: seqx.Grammar | None = None,
        memory: seqx.State | None = None,
    ) -> list[list[seqx.Hypothesis]]:
        if self.size > 4:
            raise torch.OutOfMemoryError
        return original_call(self, model, source, limits, grammar, memory)

    monkeypatch.setattr(Beam, "__call__", call_with_small_memory)
    for answers in predictor(search).hypotheses(["abc", "b", "cab"]):
        assert 1 <= len({text for text, _ in answers}) == len(answers) <= 4


def test_beam_has_a_maximum_size() -> None:
    assert Beam(size=6_000, nbest=3).wider() is None
    assert Beam(size=5_000, nbest=3).wider() == Beam(size=10_000, nbest=6)


@pytest.mark.parametrize("search", [Beam(size=4, ratio=0, extra=4), Greedy()])
def test_predictor_with_answers_returns_the_same_best_answer(search: seqx.Search) -> None:
    one = predictor(search)
    two = one.with_answers(2)
    assert (one.num_answers, two.num_answers) == (1, min(2, search.width))
    assert one.with_answers(9).num_answers == search.width
    for number in (0, -1):
        with pytest.raises(seqx.UserError, match=rf"the number of answers is {number}; pass 1 or more"):
            one.with_answers(number)
    for single, several in zip(one.hypotheses(["abc", "b"]), two.hypotheses(["abc", "b"]), strict=True):
        assert single.text == several.text
        assert len(several) == two.num_answers
