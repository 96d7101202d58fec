"""Text-to-text tasks and classification."""

import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch

import seqx
from seqx.inference import Predictor
from seqx.testing import FixedPredictor
from seqx.testing.toy import Certain
from seqx_text import Accuracy, ExactMatch, SquadF1
from seqx_text_tasks import Classification, Labels, TextToText
from tests.letters import Letters, Rows

QUESTIONS = [("who?", "Anna\tsleeps.", "Anna"), ("where?", "In bed.", "bed")]


def ids(text: str) -> list[int]:
    return [*map(ord, text)]


def task(**settings: Any) -> TextToText:
    defaults: dict[str, Any] = {
        "corpus": Rows(train=QUESTIONS, dev=QUESTIONS, test=QUESTIONS),
        "tokenizer": Letters(),
        "metrics": [ExactMatch(), SquadF1()],
        "template": "question: {0} context: {1}",
        "target": 2,
    }
    return TextToText(**(defaults | settings))


def test_template_reads_columns_separated_by_tabs() -> None:
    answers = task()
    assert answers.inputs(answers.read_split("dev")) == ["who?\tAnna sleeps.", "where?\tIn bed."]
    assert answers.references(answers.read_split("dev")) == ["Anna", "bed"]
    source = [*ids("question: who? context: Anna sleeps."), seqx.EOS]
    assert answers.read("who?\tAnna sleeps.") == {"source": source}
    example = answers.example(next(answers.rows("train")), training=True)
    assert isinstance(example, seqx.Example)
    assert example.columns == {"source": source, "target": [*ids("Anna"), seqx.EOS]}
    sampled = answers.encode(example.text, random.Random(0))
    assert sampled["target"] == [*ids("AAnnnnaa"), seqx.EOS]


def test_template_with_reordered_columns_and_other_braces() -> None:
    answers = task(template="{1} {x} {0}{}")
    assert answers.source_text("a\tb") == "b {x} a{}"


def test_template_with_one_column_reads_a_tab_as_a_space() -> None:
    answers = task(template="{0}? {0}!")
    assert answers.source_text("a\tb") == "a b? a b!"
    assert answers.source_text(answers.inputs(answers.read_split("dev"))[0]) == "who?? who?!"


def test_template_rejects_another_number_of_columns() -> None:
    with pytest.raises(seqx.UserError, match=r"an input has 1 columns.* but the template has \{0\}, \{1\}"):
        task().read("no tab")


def test_text_to_text_rejects_invalid_settings() -> None:
    with pytest.raises(ValueError, match=r"has no placeholder of a column, such as \{0\}"):
        task(template="summarize:")
    with pytest.raises(ValueError, match="reads column 1, which is the target"):
        task(target=1)
    with pytest.raises(ValueError, match="metrics is empty"):
        task(metrics=[])


def test_text_to_text_columns_must_exist(tmp_path: Path) -> None:
    with pytest.raises(seqx.UserError, match=r"task.target is 3, but the corpus has 3 columns"):
        task(target=3).fetch(tmp_path, lambda *_: None)


def test_text_to_text_drops_or_truncates_long_inputs() -> None:
    row = ("abcdefgh", "x")
    complete = task(template="{0}", target=1, max_length=5)
    assert complete.example(row, training=True) == seqx.Rejected("too long")
    assert complete.read("abcdefgh")["source"] == [*ids("abcdefgh"), seqx.EOS]
    assert [warning.count for warning in complete.answer_warnings("abcdefgh", [[]])] == [0]
    truncated = task(template="{0}", target=1, max_length=5, truncate=True)
    example = truncated.example(row, training=True)
    assert isinstance(example, seqx.Example)
    assert example.columns["source"] == [*ids("abcd"), seqx.EOS] == truncated.read("abcdefgh")["source"]
    assert len(truncated.read("abcd")["source"]) == 5
    nbests = [seqx.NBest(warnings=truncated.answer_warnings(text, [[], []])) for text in ("abcdefgh", "abcd")]
    (warning,) = seqx.sum_warnings(nbests)
    assert str(warning) == "1 of 2 inputs have more than 5 tokens; their ends were not read"


def test_text_to_text_answers_are_scored() -> None:
    answers = {"who?\tAnna sleeps.": "the Anna!", "where?\tIn bed.": "a big bed"}
    questions = task()
    evaluation = questions.evaluate(FixedPredictor(answers.__getitem__), questions.read_split("dev"))
    assert {name: score.value for name, score in evaluation.scores.items()} == pytest.approx(
        {"exact_match": 50, "squad_f1": 100 * (1 + 2 / 3) / 2}
    )
    assert evaluation.answers[1] == seqx.Answer(input="where?\tIn bed.", output="a big bed", reference="bed")


FILMS = [("fine", " good "), ("dull", "bad"), ("great", "good")]


def films(tmp_path: Path, **settings: Any) -> Classification:
    corpus = Rows(train=FILMS, dev=[("odd", "unseen"), ("fine", "good")], test=FILMS)
    classification = Classification(corpus=corpus, tokenizer=Letters(), metrics=[Accuracy()], **settings)
    classification.learn(tmp_path, lambda *_: None)
    return classification


def test_classification_saves_the_labels_of_training_rows(tmp_path: Path) -> None:
    films(tmp_path)
    loaded = Classification(corpus=Rows(), tokenizer=Letters(), metrics=[Accuracy()])
    loaded.load(tmp_path)
    assert loaded.vocab_sizes["target"] == 6
    assert [loaded.target_text([i]) for i in (4, 5)] == ["bad", "good"]


def test_classification_target_is_one_label_or_unk(tmp_path: Path) -> None:
    classification = films(tmp_path)
    rows = [*classification.rows("train"), *classification.rows("dev")]
    examples = [classification.example(row, training=False) for row in rows]
    targets = [example.columns["target"] for example in examples if isinstance(example, seqx.Example)]
    assert targets == [[5], [4], [5], [seqx.UNK], [5]]
    evaluation = classification.evaluate(FixedPredictor(lambda _: "good"), classification.read_split("dev"))
    assert evaluation.scores["accuracy"].value == 50


def test_classification_refuses_another_tokenizer_of_labels(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"target_tokenizer: a label is one token, .* use the task text_to_text"
    ):
        films(tmp_path, target_tokenizer=Letters())


@pytest.mark.parametrize("num_answers", [1, 2, 3])
def test_classification_ranks_the_labels_by_their_probability(tmp_path: Path, num_answers: int) -> None:
    classification = films(tmp_path)
    model = Certain(classification.vocab_sizes, [5])
    cpu = torch.device("cpu")
    predictor = Predictor(classification, model, None, device=cpu, num_answers=num_answers)
    (answers,) = predictor.hypotheses(["fine"])
    assert [answer.text for answer in answers] == ["good", "bad"][:num_answers]
    assert answers[0].hypothesis.ids == [5]
    probabilities = [math.exp(answer.hypothesis.logprob) for answer in answers]
    assert probabilities == pytest.approx([1, 0][:num_answers], abs=1e-6)
    assert predictor.logprobs([seqx.Example(columns={"source": [4, 2], "target": [5]})]) == [pytest.approx(0)]


def test_classification_refuses_constraints(tmp_path: Path) -> None:
    classification = films(tmp_path)
    model = Certain(classification.vocab_sizes, [5])
    predictor = Predictor(classification, model, None, device=torch.device("cpu"))
    with pytest.raises(seqx.InputError, match="the task of this model does not support prefixes and phrases"):
        predictor([seqx.Request(input="fine", prefix="go")])


def test_labels_name_a_damaged_file(tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text("[")
    with pytest.raises(seqx.UserError, match=r"labels\.json: cannot be read"):
        Labels().load(tmp_path)
