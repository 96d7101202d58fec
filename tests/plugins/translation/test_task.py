"""The task of translation: encoding of rows and decoding of outputs, with real captions and single cases."""

import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

import seqx
from seqx.testing import FixedPredictor
from seqx_text import (
    Accuracy,
    Bleu,
    Chrf,
    Files,
    Lowercase,
    MosesPunctuation,
    MosesTokens,
    SentencePiece,
    TokenizedBleu,
)
from seqx_translation import Translation
from tests.letters import Letters, Rows


def ignore_progress(activity: str, fraction: float | None) -> None:
    pass


class Bracketed(seqx.Normalizer):
    def __init__(self, left: str = "<", right: str = ">") -> None:
        self.left, self.right = left, right

    def __call__(self, text: str) -> str:
        return f"{self.left}{text}{self.right}"

    def restore(self, text: str) -> str:
        return text.removeprefix(self.left).removesuffix(self.right)


ROWS = [("ab", "cde"), ("fg", "h")]


def letters(**settings: object) -> Translation:
    splits = {"corpus": Rows(train=list(ROWS), dev=list(ROWS), test=list(ROWS)), "tokenizer": Letters()}
    return Translation(**{"metrics": [Bleu()], **splits, **settings})  # type: ignore[arg-type]


def ids(text: str) -> list[int]:
    return [*map(ord, text), seqx.EOS]


def test_translation_example_is_two_columns_with_eos() -> None:
    example = letters(source_normalizers=[Bracketed()]).example(ROWS[0], training=True)
    assert example == seqx.Example(
        columns={"source": ids("<ab>"), "target": ids("cde")}, text={"source": "<ab>", "target": "cde"}
    )


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (("", "a"), "empty"),
        (("a", " \u00a0"), "empty"),
        (("a" * 10, "a" * 9), "too long"),
        (("a" * 9, "a" * 10), "too long"),
        (("a", "aaaaaaa"), "misaligned"),
        (("aaaaaaa", "a"), "misaligned"),
    ],
)
def test_translation_drops_unsuitable_rows_in_training_only(row: tuple[str, str], reason: str) -> None:
    task = letters(max_length=10, ratio=3.5)
    assert task.example(row, training=True) == seqx.Rejected(reason)
    kept = task.example(row, training=False)
    assert isinstance(kept, seqx.Example)
    assert kept.columns["target"] == ids(row[1])


def test_translation_reports_how_much_text_the_tokenizer_has_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seqx.tasks.seq2seq._REPORTED", 1)
    task, reports = letters(), list[tuple[str, float | None]]()
    monkeypatch.setattr(task.corpus, "num_rows", lambda split: {"train": len(ROWS)}[split])
    task.learn(tmp_path, lambda *report: reports.append(report))
    assert reports == [
        ("learning the vocabulary", None),
        ("reading text for the vocabulary: 1 lines", 0.25),
        ("reading text for the vocabulary: 2 lines", 0.5),
        ("reading text for the vocabulary: 3 lines", 0.75),
        ("learning the vocabulary from 4 lines", None),
    ]


def test_translation_keeps_rows_at_the_limits() -> None:
    task = letters(max_length=10, ratio=3.5)
    for row in (("a" * 9, "a" * 9), ("a", "a" * 6)):
        assert isinstance(task.example(row, training=True), seqx.Example)


def test_translation_vocabulary_is_trained_on_source_and_target(tmp_path: Path) -> None:
    shared = letters(target_normalizers=[Bracketed()])
    shared.learn(tmp_path, ignore_progress)
    assert isinstance(shared.tokenizer, Letters)
    assert shared.tokenizer.lines == ["ab", "<cde>", "fg", "<h>"]
    target = Letters()
    separate = letters(target_tokenizer=target)
    separate.learn(tmp_path, ignore_progress)
    assert isinstance(separate.tokenizer, Letters)
    assert (separate.tokenizer.lines, target.lines) == (["ab", "fg"], ["cde", "h"])
    assert separate.tokenizer.folder != target.folder
    trained_folder = target.folder
    target.folder = None
    separate.load(tmp_path)
    assert target.folder == trained_folder


def test_translation_undoes_normalizers_in_reverse_order() -> None:
    task = letters(target_normalizers=[Lowercase(), Bracketed(), Bracketed("(", ")")])
    example = task.example(("x", "Hallo"), training=False)
    assert isinstance(example, seqx.Example)
    assert example.columns["target"] == ids("(<hallo>)")
    assert task.write(ids("(<hallo>)")[:-1], "whatever", {}) == "hallo"
    assert task.read("ab") == {"source": ids("ab")}


def test_translation_does_not_use_a_sampled_segmentation_that_is_too_long() -> None:
    task = letters(max_length=6)
    sampled = task.encode({"source": "ab", "target": "cde"}, random.Random(0))
    assert sampled == {"source": ids("aabb"), "target": ids("cde")}


def test_translation_columns_can_be_swapped_and_must_exist(tmp_path: Path) -> None:
    reverse = letters(source=1, target=0)
    assert list(reverse.rows("train")) == [("cde", "ab"), ("h", "fg")]
    assert reverse.inputs(reverse.read_split("dev")) == ["cde", "h"]
    assert reverse.references(reverse.read_split("dev")) == ["ab", "fg"]
    with pytest.raises(seqx.UserError, match=r"task.target is 2, but the corpus has 2 columns"):
        letters(target=2).fetch(tmp_path, ignore_progress)
    with pytest.raises(ValueError, match="same corpus column"):
        letters(source=1)


def test_translation_needs_a_metric() -> None:
    with pytest.raises(ValueError, match="metrics is empty; name at least one"):
        letters(metrics=[])


def test_translation_fetch_reports_problems_of_later_steps(tmp_path: Path) -> None:
    with pytest.raises(seqx.UserError, match="no rows for test"):
        letters(corpus=Rows(train=[*ROWS], dev=[*ROWS])).fetch(tmp_path, ignore_progress)
    letters(corpus=Rows(test=[*ROWS])).fetch(tmp_path, ignore_progress, splits=("test",))
    with pytest.raises(seqx.UserError, match=r"metrics: bleu is computed twice"):
        letters(metrics=[Bleu(), Chrf(), Bleu(lowercase=True)]).fetch(tmp_path, ignore_progress)


def test_translation_splits_long_input_without_losing_text() -> None:
    task = letters(source_normalizers=[Bracketed()])
    text = "One two. Three " + "x" * 50
    parts = task.split_long_input(text, 13)
    assert parts[:2] == ["One two.", "Three"]
    assert all(len(task.read(part)["source"]) <= 13 for part in parts)
    assert "".join(parts) == text.replace(" ", "", 2).replace(" ", "").replace("Onetwo", "One two")
    assert task.join(["Eins zwei.", "Drei"]) == "Eins zwei. Drei"


def captions(lang: Literal["en", "de"]) -> list[seqx.Normalizer]:
    return [MosesPunctuation(lang=lang), Lowercase(), MosesTokens(lang=lang)]


def test_translation_restores_real_captions(data: Callable[[str], Path], tmp_path: Path) -> None:
    folder = data("multi30k")

    def pair(name: str) -> list[str]:
        return [str(folder / f"{name}.{lang}.gz") for lang in ("en", "de")]

    task = Translation(
        corpus=Files(train=pair("val"), dev=pair("test_2016_flickr"), test=pair("test_2016_flickr")),
        tokenizer=SentencePiece(size=2000, coverage=1.0),
        source_normalizers=captions("en"),
        target_normalizers=captions("de"),
        metrics=[TokenizedBleu(normalizers=captions("de")), Bleu()],
    )
    task.fetch(tmp_path, ignore_progress)
    task.learn(tmp_path, ignore_progress)
    task.load(tmp_path)
    assert task.vocab_sizes == {"source": 2000, "target": 2000}
    copy = pickle.loads(pickle.dumps(task))
    assert copy.read("A Boston terrier.") == task.read("a boston  terrier .")
    examples = [task.example(row, training=True) for row in task.rows("train")]
    assert all(isinstance(example, seqx.Example) for example in examples)

    answers = dict(
        zip(task.inputs(task.read_split("test")), task.references(task.read_split("test")), strict=True)
    )

    def perfect(text: str) -> str:
        """Return the answer of a perfect model, from its ids."""
        example = task.example((text, answers[text]), training=False)
        assert isinstance(example, seqx.Example)
        return task.write(example.columns["target"], text, {})

    evaluation = task.evaluate(FixedPredictor(perfect), task.read_split("test"))
    assert list(evaluation.scores) == ["tokenized_bleu", "bleu"]
    assert evaluation.scores["tokenized_bleu"].value == pytest.approx(100)
    assert 15 < evaluation.scores["bleu"].value < 40  # this metric counts lower-case letters as errors
    assert evaluation.answers[1].reference.startswith("Ein Boston Terrier läuft")
    assert evaluation.answers[1].output.startswith("ein boston terrier läuft")
    assert len(evaluation.answers) == 1000


def test_translation_refuses_several_references_for_metrics_of_one(tmp_path: Path) -> None:
    """Otherwise the first validation, or the test after all updates, would fail."""
    problem = "it compares an output with one reference; remove it, or leave out more_references"
    task = letters(metrics=[Bleu(), Accuracy()], more_references=(2,))
    assert [*task.setting_errors()] == [("metrics.1", problem)]
    with pytest.raises(seqx.UserError, match=f"^task.metrics.1: {problem}$"):
        task.fetch(tmp_path, ignore_progress)
    assert not [*letters(metrics=[Bleu(), Chrf()], more_references=(2,)).setting_errors()]
    assert not [*letters(metrics=[Accuracy()]).setting_errors()]
