"""The short versions of sentences, and their tenses."""

from collections import Counter
from functools import cache

from seqx_sample import Sample


@cache
def rows() -> list[tuple[str, ...]]:
    """Return the rows, which are not generated when tests are collected."""
    return list(Sample(train=3000, columns=("en", "gist", "tense")).rows("train"))


def test_gist_and_tense_of_known_sentences() -> None:
    known = {sentence: (gist, tense) for sentence, gist, tense in rows()}
    assert known["The customer that Daniel's teachers were thanking was sick."] == (
        *("The customer was sick.", "past"),
    )
    assert known["These geese have always run away in the park."] == ("These geese have run away.", "perfect")
    assert known["While the doctor dreamed of the customer, he did not own the cat."] == (
        *("He did not own the cat.", "past"),
    )
    assert known["Please travel through the forest."] == ("Please travel through the forest.", "request")
    assert known["Which problem has Emma complained about?"][0] == "Which problem has Emma complained about?"


def test_gist_is_not_longer_and_keeps_the_punctuation_mark() -> None:
    shorter = 0
    for sentence, gist, _ in rows():
        assert len(gist.split()) <= len(sentence.split())
        assert gist[0].isupper()
        assert gist[-1] == sentence[-1]
        shorter += gist != sentence
    assert 0.4 < shorter / len(rows()) < 0.7


def test_tense_column_names_the_modal_of_the_sentence() -> None:
    for sentence, gist, tense in rows():
        if tense in {"can", "could", "must", "may", "should"}:
            assert {tense, f"{tense}not", tense.capitalize()} & {*gist.split()}, sentence
    tenses = Counter(tense for *_, tense in rows())
    assert len(tenses) == 15
    assert min(tenses.values()) > 20
