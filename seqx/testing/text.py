"""Laws of normalizers, tokenizers, corpora and metrics."""

import math
import tempfile
from collections.abc import Iterator
from pathlib import Path

from seqx.errors import UserError
from seqx.interfaces.rows import row_texts
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
        assert normalizer(line) == normalized, f"the second call changes {line!r} in another way"
        for text in (normalized, normalizer.restore(normalized)):
            assert "\n" not in text, f"{line!r} becomes {text!r}; a line must stay one line"
        assert bool(normalized.strip()) == bool(line.strip()), (
            f"{line!r} becomes {normalized!r}; rows with an empty side are removed from training"
        )


def _learned(subject: Subject, folder: Path) -> Tokenizer:
    """Build a tokenizer and learn its vocabulary in a new folder."""
    folder.mkdir()
    tokenizer: Tokenizer = subject.build()
    tokenizer.learn(iter(LINES), folder)
    return tokenizer


def _assert_same_ids(actual: Tokenizer, expected: Tokenizer, problem: str) -> None:
    """Assert that two tokenizers have the same size and encode the lines alike."""
    assert actual.size == expected.size, f"{problem}: the sizes are {expected.size} and {actual.size}"
    for line in LINES:
        first, second = expected.encode(line), actual.encode(line)
        assert first == second, f"{problem}: {line!r} has the ids {first} and {second}"


@law(Tokenizer)
def decode_inverts_encode(subject: Subject) -> None:
    """Decoding inverts encoding on the training text."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = _learned(subject, Path(folder, "a"))
        for line in LINES:
            ids = tokenizer.encode(line)
            decoded = tokenizer.decode(ids)
            assert decoded == line, (
                f"decode: {line!r} has the ids {ids} and comes back as {decoded!r}, so references and "
                "answers differ; keep case, spaces and accents, and leave changes of text to a normalizer"
            )


@law(Tokenizer)
def ids_are_in_the_vocabulary(subject: Subject) -> None:
    """Text that spells special symbols gets no id of PAD, BOS or EOS; unseen characters get ids, too."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = _learned(subject, Path(folder, "a"))
        for line in [*LINES, "<pad> <s> </s> <unk>", "日本語"]:
            ids = tokenizer.encode(line)
            assert all(UNK <= i < tokenizer.size for i in ids), (
                f"encode: {line!r} has the ids {ids}; ids must be from {UNK} (UNK) to {tokenizer.size - 1} "
                "(`size` - 1), also for text that spells special symbols"
            )
        assert tokenizer.encode("") == [], "encode: an empty text must have no ids"


@law(Tokenizer)
def decode_ignores_special_ids(subject: Subject) -> None:
    """PAD, BOS and EOS among the ids do not change the decoded text."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = _learned(subject, Path(folder, "a"))
        ids = tokenizer.encode(LINES[0])
        plain, special = tokenizer.decode(ids), tokenizer.decode([1, *ids, 2, 0, 0])
        assert special == plain, (
            f"decode: BOS, EOS and PAD change {plain!r} to {special!r}; leave out these ids"
        )


@law(Tokenizer)
def learning_is_deterministic(subject: Subject) -> None:
    """The same lines give the same vocabulary size and the same ids."""
    with tempfile.TemporaryDirectory() as folder:
        first, second = (_learned(subject, Path(folder, name)) for name in "ab")
        problem = "learn: the same lines give another vocabulary; sort symbols, and seed random numbers"
        _assert_same_ids(second, first, problem)


@law(Tokenizer)
def errors_of_the_lines_are_raised(subject: Subject) -> None:
    """If the training text cannot be read, `learn` raises the error of the text unchanged."""
    expected: UserError | None = None  # a tokenizer may leave the text unread
    raised: Exception | None = None

    def lines() -> Iterator[str]:
        nonlocal expected
        yield LINES[0]
        expected = UserError("line 2 of the text is not UTF-8")
        raise expected

    with tempfile.TemporaryDirectory() as folder:
        tokenizer: Tokenizer = subject.build()
        try:
            tokenizer.learn(lines(), Path(folder))
        except Exception as error:  # noqa: BLE001  the law compares it
            raised = error
    assert raised is expected, (
        f"learn: the error of the text becomes {raised!r}; do not catch it, because it says what to correct"
    )


@law(Tokenizer)
def learned_files_can_be_loaded(subject: Subject) -> None:
    """A tokenizer that loads the folder of another encodes like it, even after the folder was moved."""
    with tempfile.TemporaryDirectory() as folder:
        first = _learned(subject, Path(folder, "a"))
        moved = Path(folder, "a").rename(Path(folder, "moved"))
        second: Tokenizer = subject.build()
        second.load(moved)
        problem = (
            "load: a tokenizer that loads the files of another differs from it; write all of it into `folder`"
        )
        _assert_same_ids(second, first, problem)


@law(Corpus)
def rows_are_deterministic(subject: Subject) -> None:
    """The rows of a split have the same number of columns, and are the same in each iteration and object."""
    with tempfile.TemporaryDirectory() as folder:
        corpora: list[Corpus] = [subject.build(), subject.build()]
        for corpus in corpora:
            corpus.fetch(Path(folder), lambda _, __: None)
        first, second = corpora
        assert first.identity() == second.identity(), (
            "identity: two corpora with the same settings have different identities, so nothing is found in "
            "the cache; use the content only"
        )
        for split in SPLITS:
            rows = list(map(row_texts, first.rows(split)))
            assert rows, f"{split} is empty"
            widths = {len(row) for row in rows}
            assert widths == {len(rows[0])}, f"rows: the rows of {split} have {sorted(widths)} columns"
            for name, again in (("iteration", first), ("object", second)):
                assert list(map(row_texts, again.rows(split))) == rows, (
                    f"rows: {split} has other rows in the second {name}; return the same rows in the same "
                    "order, with a new `random.Random(seed)` in each call"
                )


@law(Corpus)
def one_split_can_be_fetched(subject: Subject) -> None:
    """A split can be read after it alone was fetched; a later fetch of all splits adds the others."""
    with tempfile.TemporaryDirectory() as folder:
        complete_corpus: Corpus = subject.build()
        complete_corpus.fetch(Path(folder, "whole"), lambda _, __: None)
        for split in SPLITS:
            corpus: Corpus = subject.build()
            corpus.fetch(Path(folder, split), lambda _, __: None, splits=(split,))
            rows, expected = (sorted(map(row_texts, c.rows(split))) for c in (corpus, complete_corpus))
            assert rows == expected, (
                f"fetch: {split}, fetched alone, has other rows than after a fetch of all splits"
            )
            corpus.fetch(Path(folder, split), lambda _, __: None)
            assert corpus.identity() == complete_corpus.identity(), (
                f"identity: it differs if {split} was fetched first"
            )


@law(Metric)
def references_score_best(subject: Subject) -> None:
    """References get a better value of every score than truncated outputs; every score has a signature."""
    metric = subject.build()
    perfect = metric(TREES, TREES)
    other = metric([line[: len(line) // 2] for line in TREES], TREES)
    assert perfect, "return at least one score"
    assert list(perfect) == list(other), (
        f"the scores are {list(perfect)} for one text, {list(other)} for another"
    )
    for name, score in perfect.items():
        assert score.signature, f"{name}: give the score a signature that says how it was computed"
        assert score.beats(other[name].value), (
            f"{name}: the references score {score.value:g}, truncated outputs {other[name].value:g}; check "
            "the order of `outputs` and `references`, and set `lower_is_better` if a lower value is better"
        )


@law(Metric)
def scores_depend_on_the_pairs_only(subject: Subject) -> None:
    """Scores depend neither on the order of outputs and references nor on earlier calls."""
    metric = subject.build()
    outputs = [TREES[0], TREES[1][:40], TREES[1]]
    expected = metric(outputs, TREES)
    again, reversed_scores = metric(outputs, TREES), metric(outputs[::-1], TREES[::-1])
    for name, score in expected.items():
        assert again[name].value == score.value, (
            f"{name}: the second call with the same texts gives {again[name].value:g} instead of "
            f"{score.value:g}; keep no counts in attributes"
        )
        assert math.isclose(reversed_scores[name].value, score.value, rel_tol=1e-6, abs_tol=1e-9), (
            f"{name}: in reverse order, the pairs of outputs and references score "
            f"{reversed_scores[name].value:g} instead of {score.value:g}; compare each output with its own "
            "reference, and sum over all pairs"
        )


@law(Metric)
def scores_match_score_names(subject: Subject) -> None:
    """An overridden `score_names` lists the scores in order, or returns None."""
    metric: Metric = subject.build()
    is_overridden = type(metric).score_names is not Metric.score_names
    expected, names = metric.score_names() if is_overridden else None, list(metric(TREES, TREES))
    assert expected is None or list(expected) == names, (
        f"score_names: it returns {expected}, but the scores are {names}; list them in this order, or return "
        "None if they depend on the text"
    )


@law(Metric)
def signatures_declare_their_results(subject: Subject) -> None:
    """Scores of other outputs for the same references can be compared: `results` names what differs."""
    metric: Metric = subject.build()
    perfect, other = metric(TREES, TREES), metric([line[: len(line) // 2] for line in TREES], TREES)
    for name, score in perfect.items():
        fields = {field.partition(":")[0] for field in score.signature.split("|")}
        assert fields.issuperset(score.results), (
            f"{name}: the results {[*score.results]} are not all fields of the signature {score.signature!r}"
        )
        assert score.settings == other[name].settings, (
            f"{name}: the signature is {score.signature!r} for some outputs, {other[name].signature!r} for "
            "others, so their scores could not be compared; name the fields that differ in `results`"
        )
