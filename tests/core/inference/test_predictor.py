"""The predictor: order of the answers, empty and long inputs, batches, out of memory."""

import signal
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import seqx
from seqx.errors import NotFiniteError
from seqx.inference import Predictor
from seqx.inference.predictor import stop_together
from seqx.runtime.signals import Stopped
from seqx_search import Beam, Greedy, Sampling
from tests.core.inference.task_without_data import TaskWithoutData
from tests.plugins.search.toy import Toy

CPU = torch.device("cpu")


class Letters(TaskWithoutData):
    """A task with texts of "a", "b" and "c". Spaces are not tokens. Long inputs are split at spaces."""

    max_length = 6

    @property
    def vocab_sizes(self) -> Mapping[str, int]:
        return {"source": 7, "target": 7}

    def read(self, text: str) -> Mapping[str, list[int]]:
        return {"source": [*("abc".index(c) + 4 for c in text if c in "abc"), seqx.EOS]}

    def write(self, ids: Sequence[int], text: str, labels: Mapping[str, Sequence[int]]) -> str:
        return f"{text}:{''.join('?abc'[i - 3] for i in ids)}"

    def split_long_input(self, text: str, max_length: int) -> list[str]:
        return text.split()

    def join(self, answers: Sequence[str]) -> str:
        return " + ".join(answers)


class Unsplittable(Letters):
    """A task that cannot split its inputs."""

    def split_long_input(self, text: str, max_length: int) -> list[str]:
        return [text]


class Trimming(Letters):
    """A task that removes the spaces around a long input; each space is a token."""

    def read(self, text: str) -> Mapping[str, list[int]]:
        return {"source": [*(" abc".index(c) + 3 for c in text), seqx.EOS]}

    def split_long_input(self, text: str, max_length: int) -> list[str]:
        return [text.strip()]


class RecordingModel(Toy):
    """A model that records the shape of each batch, and the maximum output tokens."""

    def __init__(self) -> None:
        super().__init__(spread=1.5)
        self.shapes: list[tuple[int, int, int]] = []

    def encode(self, source: seqx.Column) -> seqx.State:
        self.source, self.shape = source.values, (source.values.size(0), source.values.size(1))
        assert not self.training
        return super().encode(source)

    def start(self, memory: seqx.State, capacity: int | None) -> seqx.State:
        self.shapes.append((*self.shape, capacity or 0))
        return super().start(memory, capacity)


def predictor(search: seqx.Search | None = None, task: seqx.Task | None = None, **settings: Any) -> Predictor:
    return Predictor(task or Letters(), RecordingModel(), search or Beam(size=3), device=CPU, **settings)


def split_inputs(*nbests: seqx.NBest) -> int:
    """Return the number of inputs that were answered in parts."""
    return seqx.sum_warnings(nbests)[0].count


LINES = ["abc", "", "c", "aabb c", "   ", "-", "b", "abcab", "ca", "b"]


@pytest.mark.parametrize("search", [Beam(size=3), Greedy(), Sampling()], ids=str)
@pytest.mark.parametrize("window", [1, 3, 100])
def test_predictor_answers_in_the_order_of_the_inputs(search: seqx.Search, window: int) -> None:
    answers = [nbest[0][0] if nbest else "" for nbest in predictor(search).hypotheses(LINES, window)]
    assert answers == [predictor(search)([line])[0] for line in LINES]
    assert [answer.partition(":")[0] for answer in answers] == [line.strip(" -") for line in LINES]
    assert predictor(search)(LINES) == answers


def test_long_input_that_becomes_short_is_answered_as_one_part() -> None:
    (nbest,) = predictor(task=Trimming()).hypotheses(["abc" + " " * 5000])
    assert nbest.text == predictor(task=Trimming())(["abc"])[0]
    assert split_inputs(nbest) == 0


class LabelTask(Letters):
    """A task whose answers are the labels of the input's tokens."""

    def write(self, ids: Sequence[int], text: str, labels: Mapping[str, Sequence[int]]) -> str:
        return f"{text}:{' '.join(map(str, labels['next']))}"


class LabelingModel(RecordingModel):
    """A model that labels each token with the next id."""

    def labels(self, memory: seqx.State) -> Mapping[str, Tensor]:
        return {"next": nn.functional.one_hot(self.source + 1, 9).float()}


def test_predictor_writes_each_answer_with_the_labels_of_its_input() -> None:
    answers = Predictor(LabelTask(), LabelingModel(), Beam(size=3), device=CPU)(["abc", "b", "", "aabb caa"])
    assert answers == ["abc:5 6 7 3", "b:6 3", "", "aabb:5 5 6 6 3 + caa:7 5 5 3"]


class WordTask(Letters):
    """A task in which "b" and "c" continue the word before them."""

    def read(self, text: str) -> Mapping[str, list[int]]:
        columns = super().read(text)
        return {**columns, seqx.WORDS: [int(i == 4) for i in columns["source"]]}


class WordRecorder(RecordingModel):
    """A model that records the word of each token, by sentence."""

    def __init__(self) -> None:
        super().__init__()
        self.words: dict[tuple[int, ...], list[int] | None] = {}

    def encode(self, source: seqx.Column) -> seqx.State:
        words = source.layout.words
        for i, length in enumerate(source.layout.keep.sum(1).tolist()):
            sentence_words = None if words is None else words[i, :length].tolist()
            self.words[tuple(source.values[i, :length].tolist())] = sentence_words
        return super().encode(source)


def test_layout_gives_the_word_of_each_source_token() -> None:
    model = WordRecorder()
    Predictor(WordTask(), model, Beam(size=3), device=CPU)(["abca", "a", "", "abcb aa"])
    assert model.words == {
        (4, 5, 6, 4, 2): [0, 0, 0, 1, 1],
        (4, 2): [0, 0],
        (4, 5, 6, 5, 2): [0, 0, 0, 0, 0],
        (4, 4, 2): [0, 1, 1],
    }
    model = WordRecorder()
    Predictor(Letters(), model, Beam(size=3), device=CPU)(["abca"])
    assert model.words == {(4, 5, 6, 4, 2): None}


def test_predictor_reads_one_window_at_a_time() -> None:
    read = []

    def lines() -> Iterator[str]:
        for line in LINES:
            read.append(line)
            yield line

    answers = predictor().hypotheses(lines(), 2)
    next(answers)
    assert len(read) == 2
    next(answers)
    assert len(read) == 2
    next(answers)
    assert len(read) == 4


def test_predictor_rejects_inputs_that_are_not_strings() -> None:
    for texts, message in (
        ("abc", r"inputs is a single string; pass a list of strings, such as \[text\]"),
        ([b"abc"], "a model answers strings, not bytes: b'abc'"),
        ([None], "a model answers strings, not NoneType"),
        (["a\ud800"], "is not valid Unicode"),
    ):
        with pytest.raises(seqx.UserError, match=message):
            predictor()(texts)
    with pytest.raises(seqx.UserError, match="batch_tokens is 0; set it to 1 or more"):
        predictor(batch_tokens=0)


def test_empty_inputs_do_not_reach_the_model() -> None:
    predict = predictor()
    assert predict(["", " ", "\t", "-"]) == [""] * 4
    assert list(predict.hypotheses(["", "-"])) == [[], []]
    assert isinstance(predict.model, RecordingModel)
    assert predict.model.shapes == []


def test_predictor_splits_long_inputs_and_joins_the_answers() -> None:
    predict = predictor(Beam(size=3, nbest=3))
    long = "abca bca ccc"
    (answers, (short, *others)) = predict.hypotheses([long, "abca"])
    assert len(answers) == 1
    assert len(others) == 2
    parts = [next(iter(predict.hypotheses([part])))[0] for part in long.split()]
    assert answers[0][0] == " + ".join(text for text, _ in parts)
    assert answers[0][1].ids == [token for _, hypothesis in parts for token in hypothesis.ids]
    assert answers[0][1].score == pytest.approx(sum(hypothesis.score for _, hypothesis in parts))
    assert short == parts[0]
    assert split_inputs(answers) == 1


def test_max_length_is_the_smaller_limit_of_task_and_model() -> None:
    predict = predictor(Greedy())
    assert predict.max_length == 6
    predict.model.limit = 4
    assert predict.max_length == 4
    assert split_inputs(*predict.hypotheses(["abc a b"])) == 1
    assert isinstance(predict.model, RecordingModel)
    # BOS and three tokens take 4 positions.
    assert {capacity for _, _, capacity in predict.model.shapes} == {4}


def test_input_that_cannot_be_split_may_have_as_many_tokens_as_the_model_allows() -> None:
    predict = predictor(task=Unsplittable())
    (answers,) = predict.hypotheses(["abcabcabc"])
    assert answers.text.startswith("abcabcabc:")
    assert split_inputs(answers) == 0
    predict.model.limit = 8
    message = r"an input has 10 tokens, but the model reads at most 8; shorten it \(it begins 'abcabcabc'\)"
    with pytest.raises(seqx.UserError, match=message):
        predict(["abcabcabc"])


def test_inputs_before_one_that_is_too_long_are_answered_in_a_batch() -> None:
    predict = predictor(task=Unsplittable())
    predict.model.limit = 8
    answers = predict.hypotheses(["abc", "bca", "abcabcabc", "cab"])
    assert [nbest.text for nbest in islice(answers, 2)] == predictor()(["abc", "bca"])
    assert isinstance(predict.model, RecordingModel)
    assert [count for count, _, _ in predict.model.shapes] == [2]
    with pytest.raises(seqx.InputError, match=r"an input has 10 tokens"):
        next(answers)


@pytest.mark.parametrize("window", [1, 2, 100])
def test_error_has_the_number_of_its_input(window: int) -> None:
    predict = predictor(task=Unsplittable())
    predict.model.limit = 8
    answers = predict.hypotheses(["abc", "bca", "cab", "abcabcabc"], window)
    assert [nbest.text for nbest in islice(answers, 3)] == predictor()(["abc", "bca", "cab"])
    with pytest.raises(seqx.InputError) as raised:
        next(answers)
    assert raised.value.index == 3


def test_first_of_several_errors_is_raised() -> None:
    """The error of a long input, which is answered first, may hide one of an earlier input."""
    error_of = {"aab": seqx.InputError("the later one", 0), "b": seqx.InputError("the earlier one", 0)}

    class Refusing(Letters):
        def answer(self, model: seqx.Model, inputs: seqx.Inputs, search: seqx.Search | None) -> Any:
            for request in inputs.requests:
                if request.input in error_of:
                    raise error_of[request.input]
            return super().answer(model, inputs, search)

    predict = predictor(task=Refusing(), batch_tokens=1)
    answers = predict.hypotheses(["a", "c", "a", "b", "c", "aab"], 3)
    assert [nbest.text for nbest in islice(answers, 3)] == predictor()(["a", "c", "a"])
    with pytest.raises(seqx.InputError, match="the earlier one") as raised:
        next(answers)
    assert raised.value.index == 3


def test_batches_have_at_most_batch_tokens() -> None:
    predict = predictor(Beam(size=2, extra=3), batch_tokens=60)
    lines = ["abc"] * 7 + ["a"] * 9 + ["abcab"] * 2
    predict(lines)
    assert isinstance(predict.model, RecordingModel)
    assert sum(count for count, _, _ in predict.model.shapes) == len(lines)
    assert all(count * (length + capacity) * 2 <= 60 for count, length, capacity in predict.model.shapes)
    assert any(count > 2 for count, _, _ in predict.model.shapes)
    tiny = predictor(batch_tokens=1)
    assert tiny(LINES) == predictor()(LINES)
    assert isinstance(tiny.model, RecordingModel)
    assert {count for count, _, _ in tiny.model.shapes} == {1}


class SmallMemory(RecordingModel):
    """A model that runs out of memory with more than `max_inputs` inputs in a batch."""

    def __init__(self, max_inputs: int) -> None:
        super().__init__()
        self.max_inputs = max_inputs

    def encode(self, source: seqx.Column) -> seqx.State:
        if len(source.values) > self.max_inputs:
            raise torch.OutOfMemoryError("injected")
        return super().encode(source)


@pytest.mark.promise("out-of-memory-in-decoding")
def test_out_of_memory_changes_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    texts = ["abc", "a", "", "ccc b", "ab", "bca", "cab", "b"]
    expected = predictor(Greedy()).hypotheses(texts)
    small = SmallMemory(2)
    shrinking = Predictor(Letters(), small, Greedy(), device=CPU, batch_tokens=10_000)
    assert list(shrinking.hypotheses(texts)) == list(expected)
    assert sorted(rows for rows, *_ in small.shapes) == [1, 2, 2, 2]
    assert "cpu ran out of memory with a batch of 7 inputs; continuing with smaller batches" in caplog.text
    small.shapes.clear()
    caplog.clear()
    shrinking(texts)  # batches are smaller now
    assert max(rows for rows, *_ in small.shapes) <= 2
    with pytest.raises(
        seqx.UserError,
        match=r"cpu ran out of memory with a single input \(up to 4 tokens, beginning 'abc'\); shorten it",
    ):
        Predictor(Letters(), SmallMemory(0), Greedy(), device=CPU)(["abc"])


class LongInputsExhaustMemory(RecordingModel):
    """A model that runs out of CPU memory with long inputs."""

    def encode(self, source: seqx.Column) -> seqx.State:
        if source.values.size(1) > 4:
            torch.empty(1 << 56)
        return super().encode(source)


@pytest.mark.promise("unanswerable-line-is-named")
def test_inputs_before_one_that_runs_out_of_memory_are_answered() -> None:
    answers = Predictor(Letters(), LongInputsExhaustMemory(), Greedy(), device=CPU).hypotheses(
        ["abc", "a", "abcab", "b"]
    )
    assert [nbest[0][0] for nbest in islice(answers, 2)] == predictor(Greedy())(["abc", "a"])
    with pytest.raises(seqx.UserError, match=r"out of memory with a single input .*'abcab'"):
        next(answers)


def test_predictor_restores_the_training_mode() -> None:
    predict = predictor()
    predict.model.train()
    predict(["abc"])
    assert predict.model.training
    predict.model.eval()
    predict(["abc"])
    assert not predict.model.training


def test_grammar_gets_the_inputs_of_its_batch_in_order() -> None:
    """The grammar of each sentence allows the letters of its input."""

    class InputLetters(Letters):
        def grammar(self, inputs: Sequence[Mapping[str, list[int]]]) -> seqx.Grammar:
            return AllowedSymbols([set(columns["source"]) for columns in inputs])

    lines = ["ab", "c", "bc", "a", "b", "cccc"]
    for line, answer in zip(lines, predictor(Beam(size=4, extra=8), InputLetters())(lines), strict=True):
        assert set(answer.partition(":")[2]) <= set(line)


class AllowedSymbols(seqx.Grammar):
    """A grammar that allows one set of symbols for each sentence."""

    def __init__(self, symbols: Sequence[set[int]]) -> None:
        self.mask = torch.tensor([[symbol in allowed for symbol in range(7)] for allowed in symbols])

    def start(self, rows: int, limits: Tensor) -> seqx.State:
        assert rows == len(self.mask)
        return self.mask

    def allowed(self, state: seqx.State) -> Tensor:
        return state

    def advance(self, state: seqx.State, tokens: Tensor) -> seqx.State:
        return state


@pytest.mark.parametrize("own", [NotFiniteError("bad logits"), None])
def test_logits_that_are_not_finite_on_one_rank_are_an_error_on_all(own: NotFiniteError | None) -> None:
    """The ranks can then roll back together."""
    outcome = None, None if own is None else str(own)

    def run_beside(other: tuple[signal.Signals | None, str | None]) -> None:
        world: Any = SimpleNamespace(size=2, all_gather={outcome: [outcome, other]}.__getitem__)
        with stop_together(world):
            if own is not None:
                raise own

    with pytest.raises(NotFiniteError, match=r"^bad logits$"):
        run_beside((None, "bad logits"))
    with pytest.raises(Stopped, match="SIGTERM"):
        run_beside((signal.SIGTERM, None))
