"""Log-probabilities of targets, and perplexity."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

import seqx
from seqx.inference import Predictor, evaluate
from seqx.testing.samples import SIZES
from seqx.testing.toy import Toy
from seqx_search import Greedy
from tests.core.inference.test_predictor import Letters

EXAMPLES = [
    seqx.Example(columns={"source": [4, 5, 2], "target": [6, 7, 8, 2]}),
    seqx.Example(columns={"source": [9, 2], "target": [2]}),
    seqx.Example(columns={"source": [4, 4, 4, 4, 2], "target": [5, 2]}),
]


class ThreeExamples(Letters):
    """A task with three examples, and one row that it rejects."""

    def rows(self, split: str) -> Iterator[tuple[str, ...]]:
        return iter([("0",), ("1",), ("2",), ("3",)])

    def example(self, row: tuple[str, ...], *, training: bool) -> seqx.Example | seqx.Rejected:
        return EXAMPLES[int(row[0])] if row[0] < "3" else seqx.Rejected("no")


def predictor(model: seqx.Generator) -> Predictor:
    return Predictor(ThreeExamples(), model, Greedy(), device=torch.device("cpu"))


def perplexity(model: seqx.Generator) -> float | None:
    scorer = predictor(model)
    return evaluate(scorer, scorer.task.read_split("dev")).perplexity


def score_alone(model: seqx.Generator, example: seqx.Example) -> float:
    """Return the log-probability of an example without a batch."""

    def tokens(ids: list[int]) -> seqx.Column:
        return seqx.Column.of(torch.tensor([ids]), torch.tensor([len(ids)]))

    columns = example.columns
    with torch.no_grad():
        return float(
            model.eval()
            .score(seqx.Batch.of(source=tokens(columns["source"]), target=tokens(columns["target"])))
            .sum()
        )


def test_logprobs_are_in_the_order_of_the_examples() -> None:
    model = Toy(SIZES).train()
    values = predictor(model).logprobs(EXAMPLES)
    assert model.training  # restored
    assert values == pytest.approx([score_alone(model, example) for example in EXAMPLES], abs=1e-5)
    assert predictor(model).logprobs([]) == []


@pytest.mark.promise("out-of-memory-in-decoding")
def test_out_of_memory_changes_no_logprob(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Toy(SIZES)
    expected, score, max_rows = predictor(model).logprobs(EXAMPLES), model.score, 1

    def score_in_small_memory(batch: seqx.Batch) -> Tensor:
        if len(batch.columns["target"].values) > max_rows:
            raise torch.OutOfMemoryError("injected")
        return score(batch)

    monkeypatch.setattr(model, "score", score_in_small_memory)
    assert predictor(model).logprobs(EXAMPLES) == pytest.approx(expected, abs=1e-5)
    max_rows = 0
    with pytest.raises(seqx.UserError, match="cpu ran out of memory with a single example"):
        predictor(model).logprobs(EXAMPLES)


def test_perplexity_is_per_token_and_excludes_long_examples() -> None:
    model = Toy(SIZES)
    values = [score_alone(model, example) for example in EXAMPLES]
    assert perplexity(model) == pytest.approx(math.exp(-sum(values) / 7), rel=1e-5)
    model.limit = 4
    assert perplexity(model) == pytest.approx(math.exp(-sum(values[:2]) / 5), rel=1e-5)
    model.single_sequence = True  # the first example takes 3 + 4 - 1 positions
    assert perplexity(model) == pytest.approx(math.exp(-values[1]), rel=1e-5)
    assert [value is None for value in predictor(model).logprobs(EXAMPLES)] == [True, False, True]


def test_source_and_output_of_single_sequence_models_fit_the_limit() -> None:
    model = Toy(SIZES)
    model.limit, model.single_sequence = 6, True
    for text, answers in zip(["abc", "a"], predictor(model).hypotheses(["abc", "a"]), strict=True):
        source_length = len(Letters().read(text)["source"])
        assert all(len(hypothesis.ids) <= 6 - source_length for _, hypothesis in answers)


def test_score_with_lower_is_better_beats_larger_values() -> None:
    score = seqx.Score(value=2.0, signature="")
    perplexity = seqx.Score(value=2.0, signature="", lower_is_better=True)
    assert (score.rank, perplexity.rank) == (2, -2)
    assert score.beats(1)
    assert not score.beats(2)
    assert perplexity.beats(3)
    assert not perplexity.beats(1)
