"""Translation in several directions: each tag has its own scores, and each part of a text gets the tag."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import seqx
from seqx.testing import FixedPredictor
from seqx_sample import Sample
from seqx_text import Bleu, Chrf, Files, Mixed, SentencePiece, TaggedCorpus
from seqx_translation import Translation

TAGS = ("<2de>", "<2en>")


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Translation:
    corpora = [
        TaggedCorpus(corpus=Sample(train=100, dev=4, test=6), tag="<2de>"),
        TaggedCorpus(corpus=Sample(train=100, dev=4, test=3, columns=("de", "en")), tag="<2en>"),
    ]
    task = Translation(
        corpus=Mixed(corpora=corpora, evaluate_on="all"),
        tokenizer=SentencePiece(size=400, symbols=TAGS),
        metrics=[Bleu(), Chrf()],
        tags=TAGS,
    )
    folder = tmp_path_factory.mktemp("task")
    task.fetch(folder, lambda _what, _share: None)
    task.learn(folder, lambda _what, _share: None)
    return task


def test_translation_scores_each_tag_separately(task: Translation) -> None:
    """One direction is perfect and the other one wrong: the mean is 50, although their sizes differ."""
    right = dict(
        zip(task.inputs(task.read_split("test")), task.references(task.read_split("test")), strict=True)
    )

    known = FixedPredictor(lambda text: right[text] if text.startswith("<2de> ") else "x")
    scores = task.evaluate(known, task.read_split("test")).scores
    assert list(scores) == ["bleu", "chrf", "bleu.2de", "chrf.2de", "bleu.2en", "chrf.2en"]
    assert scores["bleu.2de"].value == pytest.approx(100)
    assert scores["bleu.2en"].value == pytest.approx(0)
    assert scores["bleu"].value == pytest.approx(50)
    assert scores["bleu"].signature == f"mean of:<2de>+<2en>|{scores['bleu.2de'].signature}"
    alone = Bleu()(
        [right[t] for t in task.inputs(task.read_split("test"))[:6]],
        task.references(task.read_split("test"))[:6],
    )["bleu"]
    assert scores["bleu.2de"] == alone


def test_recorded_answers_are_scored_and_tested_for_each_tag(task: Translation) -> None:
    """A difference in one direction is tested there; a test of all rows would not be one of the mean."""
    split = task.read_split("test")
    right = dict(zip(task.inputs(split), task.references(split), strict=True))
    known = FixedPredictor(lambda text: right[text] if text.startswith("<2de> ") else "x")
    baseline, better = (task.evaluate(model, split) for model in (known, FixedPredictor(right.__getitem__)))
    assert task.rescore(baseline.answers) == baseline.scores
    tests = task.significance(baseline.answers, better.answers, 50)
    assert list(tests) == ["bleu.2de", "chrf.2de", "bleu.2en", "chrf.2en"]
    assert tests["chrf.2de"].p_value == 1.0
    assert tests["chrf.2en"].p_value < 0.05


def test_mean_over_tags_has_no_note_about_the_first_tag(
    task: Translation, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = {"bleu": seqx.Score(value=1.0, signature="", note="2 sentences left out")}
    monkeypatch.setattr(Bleu, "compare", lambda *_: noted)
    split = task.read_split("test")
    scores = task.evaluate(FixedPredictor(lambda _: "x"), split).scores
    assert (scores["bleu.2de"].note, scores["bleu"].note) == ("2 sentences left out", "")


def test_metrics_of_single_answers_read_inputs_without_tags(task: Translation) -> None:
    class Sources(Bleu):
        """A metric that records the sources."""

        sources: list[str] = []  # noqa: RUF012

        def for_sources(self, sources: Sequence[str]) -> seqx.Metric:
            self.sources.extend(sources)
            return self

    metric = Sources()
    other = replace(task, metrics=[metric])
    answers = [seqx.Answer(input="<2de> A dog", output="x", reference="Ein Hund")] * 2
    other.answer_scores(answers)
    other.significance(answers, answers, 10)
    assert metric.sources == ["A dog"] * 4


def test_each_part_of_a_split_text_keeps_its_tag(task: Translation) -> None:
    sentences = ["The old man sees the house.", "The dog sleeps.", "The woman reads the book in the garden."]
    parts = task.split_long_input("<2de> " + " ".join(sentences), 24)
    assert [part.removeprefix("<2de> ") for part in parts] == sentences
    assert all(len(task.read(part)["source"]) <= 24 for part in parts)
    assert task.split_long_input(" ".join(sentences), 24) == sentences
    assert task.split_long_input("<2fr> " + " ".join(sentences), 24)[1:] == sentences[1:]


def test_translation_tag_is_one_symbol_of_the_source(task: Translation) -> None:
    plain, tagged = (task.read(text)["source"] for text in ("The dog sleeps.", "<2de> The dog sleeps."))
    assert tagged[2:] == plain
    assert task.tokenizer.decode(tagged[:2]) == "<2de>"


def test_source_without_a_tag_is_reported(task: Translation, tmp_path: Path) -> None:
    other = Translation(
        corpus=Sample(train=5, dev=2, test=2), tokenizer=task.tokenizer, metrics=[Bleu()], tags=TAGS
    )
    with pytest.raises(seqx.UserError, match="does not begin with one of <2de>, <2en>; put a tag before"):
        other.evaluate(FixedPredictor(lambda _: "x"), other.read_split("test"))
    with pytest.raises(seqx.UserError, match="does not begin with one of"):  # before the tokenizer is trained
        other.fetch(tmp_path, lambda _what, _share: None)
    for tags in (("<a>", "<a>"), ("",), ("<a>", "a")):
        with pytest.raises(ValueError, match="contains duplicates"):
            Translation(corpus=Sample(), tokenizer=task.tokenizer, metrics=[Bleu()], tags=tags)


def test_empty_source_among_tagged_ones_is_reported_with_its_line(task: Translation, tmp_path: Path) -> None:
    (tmp_path / "en").write_text("A dog.\n\n")
    corpus = Files(train=[str(tmp_path / "en")] * 2, test=[str(tmp_path / "en")] * 2)
    other = replace(task, corpus=TaggedCorpus(corpus=corpus, tag="<2de>"))
    with pytest.raises(seqx.UserError) as raised:
        other.fetch(tmp_path, lambda _what, _share: None, ("train", "test"))
    message = "task.tags: the source is empty, so it has no tag; remove the row"
    assert str(raised.value) == f"{tmp_path / 'en'}:2: {message}"


def test_long_white_space_after_a_tag_is_not_split(task: Translation) -> None:
    text = "<2de>" + " " * 300
    assert task.split_long_input(text, 24) == [text]


def test_tag_that_is_split_into_several_symbols_causes_a_warning(tmp_path: Path) -> None:
    corpus = TaggedCorpus(corpus=Sample(train=100, dev=4, test=4), tag="<2de>")
    for symbols, message in (((), True), (("<2de>",), False)):
        tokenizer = SentencePiece(size=400, symbols=symbols)
        task = Translation(corpus=corpus, tokenizer=tokenizer, metrics=[Bleu()], tags=("<2de>",))
        task.fetch(tmp_path, lambda _what, _share: None)
        task.learn(tmp_path / str(message), lambda _what, _share: None)
        found = task.training_warnings()
        assert ["the vocabulary splits <2de> into several symbols" in line for line in found] == [
            True
        ] * message


def test_multilingual_recipe_scores_both_languages(data: object, tmp_path: Path) -> None:
    data("multi30k")  # type: ignore[operator]
    from seqx import recipe
    from seqx.plugin.loading import load_plugins
    from seqx.training.description import Experiment

    made = recipe.check(recipe.load("multi30k_multilingual").tree, load_plugins().registry, Experiment)()
    corpus = made.task.corpus  # type: ignore[attr-defined]
    corpus.fetch(tmp_path, lambda _what, _share: None)
    train = list(corpus.rows("train"))
    assert len(train) == 58_000
    assert train[0][0].removeprefix("<2de>") == train[29_000][0].removeprefix("<2fr>")
    assert train[0][1] != train[29_000][1]
    assert len(list(corpus.rows("test"))) == 2_000
