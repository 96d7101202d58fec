"""Mixed and tagged corpora."""

import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import seqx
from seqx import recipe
from seqx.data.prepare import prepare
from seqx.plugin.loading import load_plugins
from seqx_sample import Sample
from seqx_text import Bleu, Files, Mixed, SentencePiece, TaggedCorpus
from seqx_translation import Translation


@dataclass(frozen=True, kw_only=True)
class Section:
    """A recipe with a corpus only."""

    corpus: seqx.Corpus


def ignore_progress(activity: str, fraction: float | None) -> None: ...


def write_corpus(folder: Path, *columns: str) -> Files:
    """Write a file for each column; return a corpus with these training rows, and no other split."""
    files = [folder / f"column{number}" for number in range(len(columns))]
    for file, text in zip(files, columns, strict=True):
        file.write_text(text)
    return Files(train=[str(file) for file in files])


def test_mixed_reads_corpora_in_order_and_is_scored_on_the_first(tmp_path: Path) -> None:
    first, second = Sample(train=3, dev=2, test=2), write_corpus(tmp_path, "one\ntwo\n", "eins\nzwei\n")
    mixed = Mixed(corpora=[first, second])
    mixed.fetch(tmp_path, ignore_progress)
    assert list(mixed.rows("train")) == [*first.rows("train"), ("one", "eins"), ("two", "zwei")]
    for split in ("dev", "test"):
        assert list(mixed.rows(split)) == list(first.rows(split))


def test_mixed_identity_depends_on_the_order_of_corpora(tmp_path: Path) -> None:
    corpora = [Sample(train=3), Sample(train=3, seed=2)]
    identities = [Mixed(corpora=corpora[::step]).identity() for step in (1, 1, -1)]
    assert identities[0] == identities[1] != identities[2]
    second = write_corpus(tmp_path, "one\n", "eins\n")
    found = []
    for text in ("one\n", "uno\n"):
        (tmp_path / "column0").write_text(text)
        mixed = Mixed(corpora=[corpora[0], Files(train=second.train)])
        mixed.fetch(tmp_path, ignore_progress)
        found.append(mixed.identity())
    assert found[0] != found[1]


def test_mixed_corpus_may_have_splits_that_the_first_one_lacks(tmp_path: Path) -> None:
    """The test set of the second corpus is not used, but is part of its identity."""
    (tmp_path / "text").write_text("one\ntwo\n")
    text = [str(tmp_path / "text")]
    mixed = Mixed(corpora=[Files(train=text, dev=text), Files(train=text, test=text)])
    mixed.fetch(tmp_path, ignore_progress, mixed.available)
    assert mixed.available == ["train", "dev"]
    assert mixed.identity()["corpora"][1].keys() == {"train", "test", "limit"}  # type: ignore[index]


def test_location_of_a_mixed_row_is_found_without_reading_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large corpus takes seconds to read, and `seqx replay` shows many rows."""
    (tmp_path / "text").write_text("one\ntwo\n")
    text = [str(tmp_path / "text")]
    mixed = Mixed(corpora=[Files(train=text, limit=1), Files(train=text)], weights=[2, 1])
    mixed.fetch(tmp_path, ignore_progress)
    rows = [*mixed.rows("train")]
    monkeypatch.setattr(Files, "rows", None)
    lines = [int(mixed.row_location("train", row).rpartition(":")[2]) for row in range(4)]
    assert [("one", "two")[line - 1] for line in lines] == [text for (text,) in rows]


def test_mixed_test_rows_need_only_the_first_corpus(tmp_path: Path) -> None:
    mixed = Mixed(corpora=[Sample(train=3, dev=2, test=2), Files(train=["nothing"])])
    mixed.fetch(tmp_path, ignore_progress, ("test",))
    assert len(list(mixed.rows("test"))) == 2


def test_mixed_rejects_incompatible_corpora(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="corpora is empty"):
        Mixed(corpora=[])
    with pytest.raises(seqx.UserError, match=r"corpora\.1 has no training rows"):
        Mixed(corpora=[Sample(train=3), Sample(train=0)]).fetch(tmp_path, ignore_progress)
    with pytest.raises(seqx.UserError, match=r"the same number of columns, but they have \[2, 1\]"):
        Mixed(corpora=[Sample(train=3), write_corpus(tmp_path, "one\n")]).fetch(tmp_path, ignore_progress)
    with pytest.raises(seqx.UserError, match="no text for train"):
        Mixed(corpora=[Sample(train=3), Files()]).fetch(tmp_path, ignore_progress)
    with pytest.raises(seqx.UserError, match="nothing: cannot be read"):
        Mixed(corpora=[Files(train=["nothing"])]).fetch(tmp_path, ignore_progress)


def test_mixed_with_evaluate_on_all_has_the_dev_and_test_rows_of_all_corpora(tmp_path: Path) -> None:
    corpora = [Sample(train=3, dev=2, test=1), Sample(train=2, dev=1, test=3, columns=("de", "en"))]
    mixed = Mixed(corpora=corpora, evaluate_on="all")
    mixed.fetch(tmp_path, ignore_progress, ("test",))
    for split in ("train", "dev", "test"):
        assert list(mixed.rows(split)) == [row for corpus in corpora for row in corpus.rows(split)]
    assert mixed.identity() != Mixed(corpora=corpora).identity()


def test_mixed_old_name_of_evaluate_on_is_only_accepted_in_stored_recipes(tmp_path: Path) -> None:
    stored = {"corpora": [{"type": "sample"}], "judged_by": "all"}
    file = tmp_path / "recipe.yaml"
    file.write_text(json.dumps({"corpus": {"type": "mixed", **stored}}))
    registry = load_plugins().registry

    def check() -> object:
        tree = recipe.load(file).tree
        return recipe.check(tree, registry, Section).plain()

    with pytest.raises(seqx.UserError, match="judged_by is now called evaluate_on"):
        check()
    (tmp_path / "environment.json").touch()  # marks the recipe of a run
    assert "'evaluate_on': 'all'" in str(check())


def test_mixed_weights_keep_repeated_rows(tmp_path: Path) -> None:
    """Weights repeat rows of the training data only."""
    first, second = Sample(train=30, dev=2, test=2), Sample(train=5, dev=0, test=0, seed=2)
    rows = [len(list(corpus.rows("train"))) for corpus in (first, second)]
    counts = {}
    for name, weights in (("none", None), ("ones", [1, 1]), ("heavy", [1, 4])):
        mixed = Mixed(corpora=[first, second], weights=weights)
        task = Translation(corpus=mixed, tokenizer=SentencePiece(size=340), metrics=[Bleu()])
        task.fetch(tmp_path, ignore_progress)
        task.learn(tmp_path / name, ignore_progress)
        store = prepare(task, "train", {"weights": weights}, tmp_path / "cache")
        counts[name] = len(store)
        assert mixed.num_rows("train") == len(store)
        assert len(list(mixed.rows("dev"))) == 2
    assert counts == {"none": sum(rows), "ones": sum(rows), "heavy": rows[0] + 4 * rows[1]}
    with pytest.raises(ValueError, match="2 weights for 1 corpora"):
        Mixed(corpora=[first], weights=[1, 2])


def test_tagged_corpus_puts_the_tag_before_the_text(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path, "one\n\ntwo\n", "eins\n\nzwei\n")
    tagged = TaggedCorpus(corpus=corpus, tag="<2de>")
    tagged.fetch(tmp_path, ignore_progress, ("train",))
    assert list(tagged.rows("train")) == [("<2de> one", "eins"), ("", ""), ("<2de> two", "zwei")]
    assert tagged.num_rows("train") == 3
    second = TaggedCorpus(corpus=corpus, tag="<2de>", column=1)
    assert next(second.rows("train")) == ("one", "<2de> eins")
    sample = Sample(train=3)
    identities = [
        TaggedCorpus(corpus=sample, tag=tag, column=column).identity()
        for tag, column in (("<2de>", 0), ("<2fr>", 0), ("<2de>", 1))
    ]
    assert all(one != other for one, other in itertools.combinations(identities, 2))
    for tag in ("", "to de", " <2de>"):
        with pytest.raises(ValueError, match="set one word"):
            TaggedCorpus(corpus=sample, tag=tag)
    with pytest.raises(seqx.UserError, match="column is 2, but the corpus has 2 columns"):
        next(TaggedCorpus(corpus=sample, tag="<2de>", column=2).rows("train"))


def test_mixed_corpora_after_the_first_need_no_dev_and_test_rows(tmp_path: Path) -> None:
    tagged = TaggedCorpus(corpus=write_corpus(tmp_path, "one\n", "eins\n"), tag="<BT>")
    mixed = Mixed(corpora=[Sample(train=3, dev=2, test=2), tagged], weights=[2, 1])
    mixed.fetch(tmp_path, ignore_progress)
    assert list(mixed.rows("train"))[-1] == ("<BT> one", "eins")
    assert not any(source.startswith("<BT>") for source, _ in mixed.rows("dev"))


def test_sentencepiece_symbol_does_not_change_the_following_text(tmp_path: Path) -> None:
    plain, symbols = SentencePiece(size=340), SentencePiece(size=341, symbols=("<2de>",))
    text = [english for english, _ in Sample(train=200).rows("train")]
    plain.learn(text, tmp_path / "plain")
    symbols.learn(text, tmp_path / "symbols")
    ids = symbols.encode("<2de> The cat sleeps.")
    assert symbols.surfaces()[ids[1]] == b"<2de>"
    assert ids[2:] == symbols.encode("The cat sleeps.")
    assert symbols.decode(ids) == "<2de> The cat sleeps."


@pytest.mark.parametrize("model", ["bpe", "unigram"])
def test_sentencepiece_surfaces_concatenate_to_the_text(tmp_path: Path, model: Any) -> None:
    tokenizer = SentencePiece(size=340, model=model)
    tokenizer.learn((german for _, german in Sample(train=300).rows("train")), tmp_path)
    surfaces = tokenizer.surfaces()
    assert len(surfaces) == tokenizer.size
    assert [surfaces[i] for i in (seqx.PAD, seqx.BOS, seqx.EOS, seqx.UNK)] == [None] * 4
    for text in ("Die Frau schläft.", "中文 ▁ x", " zwei  Leerzeichen "):
        ids = tokenizer.encode(text)
        assert b"".join(surfaces[i] or b"" for i in ids).decode() == " " + text
        assert tokenizer.decode(ids) == text
