"""Laws of normalizers, tokenizers, corpora and metrics."""

import tempfile
from pathlib import Path

from seqx.interfaces.tensors import UNK
from seqx.interfaces.text import SPLITS, Corpus, Metric, Normalizer, Tokenizer
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

TREES = [  # some metrics accept only trees
    "(TOP (S (NP (DT The) (NN house)) (VP (VBZ is) (ADJP (JJ old))) (. .)))",
    "(TOP (S (NP (PRP She)) (VP (VBD sold) (NP (CD 1,250) (NNS books)) (PP (IN in) (NP (CD 1999)))) (. .)))",
    "(TOP (SBARQ (WHNP (WP Wer)) (SQ (VP (VBZ läuft) (ADVP (RB dort)))) (. ?)))",
]


@law(Normalizer)
def line_stays_one_line(subject: Subject) -> None:
    """A normalizer neither splits nor empties a line, and it is deterministic."""
    normalizer = subject.build()
    for line in [*LINES, "  wide \t spaces ", "“quotes” and … more", ""]:
        normalized = normalizer(line)
        assert "\n" not in normalized
        assert bool(normalized.strip()) == bool(line.strip())
        assert normalizer(line) == normalized
        assert "\n" not in normalizer.restore(normalized)


def _learned(subject: Subject, folder: Path) -> Tokenizer:
    """Build a tokenizer and learn its vocabulary in a new folder."""
    folder.mkdir()
    tokenizer: Tokenizer = subject.build()
    tokenizer.learn(iter(LINES), folder)
    return tokenizer


@law(Tokenizer)
def decode_inverts_encode(subject: Subject) -> None:
    """Decoding inverts encoding on the training text."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = _learned(subject, Path(folder, "a"))
        assert [tokenizer.decode(tokenizer.encode(line)) for line in LINES] == LINES


@law(Tokenizer)
def ids_are_in_the_vocabulary(subject: Subject) -> None:
    """Text that spells special symbols gets no id of PAD, BOS or EOS; unseen characters get ids, too."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = _learned(subject, Path(folder, "a"))
        for line in [*LINES, "<pad> <s> </s> <unk>", "日本語"]:
            ids = tokenizer.encode(line)
            assert all(UNK <= i < tokenizer.size for i in ids), (line, ids)
        assert tokenizer.encode("") == []


@law(Tokenizer)
def decode_ignores_special_ids(subject: Subject) -> None:
    """PAD, BOS and EOS among the ids do not change the decoded text."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = _learned(subject, Path(folder, "a"))
        ids = tokenizer.encode(LINES[0])
        assert tokenizer.decode([1, *ids, 2, 0, 0]) == tokenizer.decode(ids)


@law(Tokenizer)
def learning_is_deterministic(subject: Subject) -> None:
    """The same lines give the same vocabulary size and the same ids."""
    with tempfile.TemporaryDirectory() as folder:
        first, second = (_learned(subject, Path(folder, name)) for name in "ab")
        assert first.size == second.size
        assert [first.encode(line) for line in LINES] == [second.encode(line) for line in LINES]


@law(Tokenizer)
def learned_files_can_be_loaded(subject: Subject) -> None:
    """A tokenizer that loads the folder of another encodes like it, even after the folder was moved."""
    with tempfile.TemporaryDirectory() as folder:
        first = _learned(subject, Path(folder, "a"))
        moved = Path(folder, "a").rename(Path(folder, "moved"))
        second: Tokenizer = subject.build()
        second.load(moved)
        assert second.size == first.size
        assert [second.encode(line) for line in LINES] == [first.encode(line) for line in LINES]


@law(Corpus)
def rows_are_deterministic(subject: Subject) -> None:
    """Rows of a split have one length, and are the same in each iteration and in another corpus object."""
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
def one_split_can_be_fetched(subject: Subject) -> None:
    """A split can be read if only this split was fetched; a later fetch of all splits adds the others."""
    with tempfile.TemporaryDirectory() as folder:
        complete_corpus: Corpus = subject.build()
        complete_corpus.fetch(Path(folder, "whole"), lambda _, __: None)
        for split in SPLITS:
            corpus: Corpus = subject.build()
            corpus.fetch(Path(folder, split), lambda _, __: None, splits=(split,))
            assert sorted(corpus.rows(split)) == sorted(complete_corpus.rows(split))
            corpus.fetch(Path(folder, split), lambda _, __: None)
            assert corpus.identity() == complete_corpus.identity()


@law(Metric)
def references_score_best(subject: Subject) -> None:
    """References get a better value of every score than truncated outputs; every score has a signature."""
    metric = subject.build()
    perfect = metric(TREES, TREES)
    other = metric([line[: len(line) // 2] for line in TREES], TREES)
    assert perfect
    assert list(perfect) == list(other)
    for name, score in perfect.items():
        assert score.signature
        assert score.value > other[name].value
