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
        where = f"{line!r} becomes {normalized!r}"
        assert "\n" not in normalized, f"{where}, which has a line feed"
        assert bool(normalized.strip()) == bool(line.strip()), f"{where}; only an empty line may become empty"
        assert normalizer(line) == normalized, f"{where}, but not in a second call"
        assert "\n" not in normalizer.restore(normalized), f"{where}; `restore` then adds a line feed"


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
        for line in LINES:
            decoded = tokenizer.decode(tokenizer.encode(line))
            assert decoded == line, f"{line!r} is decoded as {decoded!r}"


@law(Tokenizer)
def ids_are_in_the_vocabulary(subject: Subject) -> None:
    """Text that spells special symbols gets no id of PAD, BOS or EOS; unseen characters get ids, too."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = _learned(subject, Path(folder, "a"))
        for line in [*LINES, "<pad> <s> </s> <unk>", "日本語"]:
            ids = tokenizer.encode(line)
            are_valid = all(UNK <= i < tokenizer.size for i in ids)
            assert are_valid, f"{line!r} has an id below {UNK} or above {tokenizer.size - 1}: {ids}"
        assert tokenizer.encode("") == [], "the empty text has ids"


@law(Tokenizer)
def decode_ignores_special_ids(subject: Subject) -> None:
    """PAD, BOS and EOS among the ids do not change the decoded text."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = _learned(subject, Path(folder, "a"))
        ids = tokenizer.encode(LINES[0])
        decoded, expected = tokenizer.decode([1, *ids, 2, 0, 0]), tokenizer.decode(ids)
        assert decoded == expected, f"ids of BOS, EOS and PAD change the text {expected!r} to {decoded!r}"


@law(Tokenizer)
def learning_is_deterministic(subject: Subject) -> None:
    """The same lines give the same vocabulary size and the same ids."""
    with tempfile.TemporaryDirectory() as folder:
        first, second = (_learned(subject, Path(folder, name)) for name in "ab")
        assert first.size == second.size, f"two vocabularies have the sizes {first.size} and {second.size}"
        for line in LINES:
            assert first.encode(line) == second.encode(line), f"{line!r} has other ids after learning again"


@law(Tokenizer)
def learned_files_can_be_loaded(subject: Subject) -> None:
    """A tokenizer that loads the folder of another encodes like it, even after the folder was moved."""
    with tempfile.TemporaryDirectory() as folder:
        first = _learned(subject, Path(folder, "a"))
        moved = Path(folder, "a").rename(Path(folder, "moved"))
        second: Tokenizer = subject.build()
        second.load(moved)
        assert second.size == first.size, f"`load` changes the size from {first.size} to {second.size}"
        for line in LINES:
            assert second.encode(line) == first.encode(line), f"{line!r} has other ids after `load`"


@law(Corpus)
def rows_are_deterministic(subject: Subject) -> None:
    """Rows of a split have one length, and are the same in each iteration and in another corpus object."""
    with tempfile.TemporaryDirectory() as folder:
        corpora: list[Corpus] = [subject.build(), subject.build()]
        for corpus in corpora:
            corpus.fetch(Path(folder), lambda _, __: None)
        first, second = corpora
        assert first.identity() == second.identity(), "`identity` differs between equal corpora"
        for split in SPLITS:
            rows = list(first.rows(split))
            assert rows, f"{split} is empty"
            widths = {len(row) for row in rows}
            assert len(widths) == 1, f"rows of {split} have different numbers of columns: {widths}"
            assert list(first.rows(split)) == rows, f"a second iteration over {split} yields other rows"
            assert list(second.rows(split)) == rows, f"another corpus object yields other rows of {split}"


@law(Corpus)
def one_split_can_be_fetched(subject: Subject) -> None:
    """A split can be read if only this split was fetched; a later fetch of all splits adds the others."""
    with tempfile.TemporaryDirectory() as folder:
        complete_corpus: Corpus = subject.build()
        complete_corpus.fetch(Path(folder, "whole"), lambda _, __: None)
        for split in SPLITS:
            corpus: Corpus = subject.build()
            corpus.fetch(Path(folder, split), lambda _, __: None, splits=(split,))
            rows, expected = sorted(corpus.rows(split)), sorted(complete_corpus.rows(split))
            assert rows == expected, f"{split} has other rows if only this split is fetched"
            corpus.fetch(Path(folder, split), lambda _, __: None)
            same = corpus.identity() == complete_corpus.identity()
            assert same, f"`identity` differs if {split} is fetched before the other splits"


@law(Metric)
def references_score_best(subject: Subject) -> None:
    """References get a better value of every score than truncated outputs; every score has a signature."""
    metric = subject.build()
    perfect = metric(TREES, TREES)
    other = metric([line[: len(line) // 2] for line in TREES], TREES)
    assert perfect, "the metric returns no score"
    assert list(perfect) == list(other), f"names of scores differ: {list(perfect)} and {list(other)}"
    for name, score in perfect.items():
        truncated = other[name].value
        assert score.signature, f"{name}: the signature is empty; describe how the score is computed"
        assert score.value > truncated, (
            f"{name}: references score {score.value}, and truncated references {truncated}"
        )
