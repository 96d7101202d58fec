"""The laws of normalizers, tokenizers, corpora and metrics."""

import tempfile
from pathlib import Path

from seqx.interfaces.text import SPLITS, Corpus, Metric, Normalizer, Tokenizer
from seqx.interfaces.values import UNK
from seqx.testing.law import Subject, law

LINES = [
    "The house is old.",
    "Das Haus ist alt.",
    "A small dog runs across the green field, and nobody knows why.",
    "Ein kleiner Hund läuft über das grüne Feld, und niemand weiß warum.",
    "She sold 1,250 books in 1999.",
    "Sie hat 1999 mehr als 1.250 Bücher verkauft.",
    "Two men are standing in front of a large building.",
    "Zwei Männer stehen vor einem großen Gebäude.",
]

TREES = [  # which are text, too: some metrics read no other
    "(TOP (S (NP (DT The) (NN house)) (VP (VBZ is) (ADJP (JJ old))) (. .)))",
    "(TOP (S (NP (PRP She)) (VP (VBD sold) (NP (CD 1,250) (NNS books)) (PP (IN in) (NP (CD 1999)))) (. .)))",
    "(TOP (SBARQ (WHNP (WP Wer)) (SQ (VP (VBZ läuft) (ADVP (RB dort)))) (. ?)))",
]


@law(Normalizer)
def a_line_stays_a_line(subject: Subject) -> None:
    """No line is split or lost, the same text always becomes the same."""
    normalizer = subject.build()
    for line in [*LINES, "  wide \t spaces ", "“quotes” and … more", ""]:
        once = normalizer(line)
        assert "\n" not in once
        assert bool(once.strip()) == bool(line.strip())
        assert normalizer(line) == once
        assert "\n" not in normalizer.restore(once)


def _learnt(subject: Subject, folder: Path) -> Tokenizer:
    folder.mkdir()
    tokenizer: Tokenizer = subject.build()
    tokenizer.learn(iter(LINES), folder)
    return tokenizer


@law(Tokenizer)
def decode_inverts_encode(subject: Subject) -> None:
    """On text it has learnt from."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = _learnt(subject, Path(folder, "a"))
        assert [tokenizer.decode(tokenizer.encode(line)) for line in LINES] == LINES


@law(Tokenizer)
def ids_are_of_the_vocabulary(subject: Subject) -> None:
    """Never PAD, BOS or EOS, even when the text spells them; what was never seen is UNK or spelt."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = _learnt(subject, Path(folder, "a"))
        for line in [*LINES, "<pad> <s> </s> <unk>", "日本語"]:
            ids = tokenizer.encode(line)
            assert all(UNK <= i < tokenizer.size for i in ids), (line, ids)
        assert tokenizer.encode("") == []


@law(Tokenizer)
def special_ids_say_nothing(subject: Subject) -> None:
    """PAD, BOS and EOS among ids leave the text as it is."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = _learnt(subject, Path(folder, "a"))
        ids = tokenizer.encode(LINES[0])
        assert tokenizer.decode([1, *ids, 2, 0, 0]) == tokenizer.decode(ids)


@law(Tokenizer)
def learning_twice_is_the_same(subject: Subject) -> None:
    """The same lines give the same vocabulary."""
    with tempfile.TemporaryDirectory() as folder:
        first, second = (_learnt(subject, Path(folder, name)) for name in "ab")
        assert first.size == second.size
        assert [first.encode(line) for line in LINES] == [second.encode(line) for line in LINES]


@law(Tokenizer)
def what_was_learnt_can_be_loaded(subject: Subject) -> None:
    """The folder is all there is to it, also when it has moved."""
    with tempfile.TemporaryDirectory() as folder:
        first = _learnt(subject, Path(folder, "a"))
        moved = Path(folder, "a").rename(Path(folder, "moved"))
        second: Tokenizer = subject.build()
        second.load(moved)
        assert second.size == first.size
        assert [second.encode(line) for line in LINES] == [first.encode(line) for line in LINES]


@law(Corpus)
def rows_come_in_one_order(subject: Subject) -> None:
    """All as wide as the first, the same again and from another object, in every split."""
    with tempfile.TemporaryDirectory() as folder:
        corpora: list[Corpus] = [subject.build(), subject.build()]
        for corpus in corpora:
            corpus.fetch(Path(folder), lambda _, __: None)
        first, second = corpora
        assert first.identity() == second.identity()
        for split in SPLITS:
            rows = list(first.rows(split))
            assert rows, f"{split} is empty"
            assert {len(row) for row in rows} == {len(rows[0])}
            assert list(first.rows(split)) == rows
            assert list(second.rows(split)) == rows


@law(Corpus)
def a_split_can_be_fetched_alone(subject: Subject) -> None:
    """Its rows are then at hand, and a later fetch of all splits adds what is missing."""
    with tempfile.TemporaryDirectory() as folder:
        whole: Corpus = subject.build()
        whole.fetch(Path(folder, "whole"), lambda _, __: None)
        for split in SPLITS:
            corpus: Corpus = subject.build()
            corpus.fetch(Path(folder, split), lambda _, __: None, splits=(split,))
            assert sorted(corpus.rows(split)) == sorted(whole.rows(split))
            corpus.fetch(Path(folder, split), lambda _, __: None)
            assert corpus.identity() == whole.identity()


@law(Metric)
def references_score_best(subject: Subject) -> None:
    """Better than other answers, by every score, and each says how it was computed."""
    metric = subject.build()
    perfect = metric(TREES, TREES)
    other = metric([line[: len(line) // 2] for line in TREES], TREES)
    assert perfect
    assert list(perfect) == list(other)
    for name, score in perfect.items():
        assert score.signature
        assert score.value > other[name].value
