"""Splitting of long text: no text is lost, all parts fit, and sentences are only split if necessary."""

import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqx_translation.sentence_splitter import split_text


def shorter_than(limit: int) -> Callable[[str], bool]:
    return lambda text: len(text) <= limit


@given(st.text(st.sampled_from("ab. !\u3002\t\u2028,A1")), st.integers(1, 30))
def test_split_text_loses_no_text_and_all_parts_fit(text: str, limit: int) -> None:
    parts = split_text(text, shorter_than(limit))
    assert "".join("".join(parts).split()) == "".join(text.split())
    assert all(len(part) <= limit for part in parts)
    if len(text) > limit:
        assert all(part and part == part.strip() for part in parts)
    else:
        assert parts == [text]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It rains. We go home! Do you? Yes.", ["It rains.", "We go home!", "Do you?", "Yes."]),
        ('He said "No." Then he left (slowly). "Why?" Nobody knew...  Well.',
         ['He said "No."', "Then he left (slowly).", '"Why?"', "Nobody knew...", "Well."]),
        ("Dr. Smith met J. R. Jones on 3. Oktober. Am 4. Mai nicht.",
         ["Dr. Smith met J. R. Jones on 3. Oktober.", "Am 4. Mai nicht."]),
        ("Dr. Smith came. Mr. Jones left. Prof. Ott stayed.",
         ["Dr. Smith came.", "Mr. Jones left.", "Prof. Ott stayed."]),
        ("Wir kamen. 3. Oktober war der Tag. Nr. 5 lebt. M. Curie kam.",
         ["Wir kamen.", "3. Oktober war der Tag.", "Nr. 5 lebt.", "M. Curie kam."]),
        ('"Dr. Smith came." „Prof. Ott blieb.“ [Mr. Jones left.] 好。Dr. Lee left.',
         ['"Dr. Smith came."', "„Prof. Ott blieb.“", "[Mr. Jones left.]", "好。", "Dr. Lee left."]),
        ("Did he? No. He left. No. 5 came. She saw No. 6 there.",
         ["Did he?", "No.", "He left.", "No. 5 came.", "She saw No. 6 there."]),
        ("We paid 3.50 at example.com. then left. Über alles.",
         ["We paid 3.50 at example.com. then left.", "Über alles."]),
        ("今天下雨。我们回家！好吗？", ["今天下雨。", "我们回家！", "好吗？"]),
    ],
)  # fmt: skip
def test_split_text_finds_sentence_ends(text: str, expected: list[str]) -> None:
    longest = max(map(len, expected))
    assert split_text(text, shorter_than(longest)) == expected


def test_split_text_splits_sentences_between_words_and_words_between_characters() -> None:
    assert split_text("one two three four. Five.", shorter_than(9)) == ["one two", "three", "four.", "Five."]
    assert split_text("aaaaaaaaaa bb", shorter_than(4)) == ["aaaa", "aaaa", "aa", "bb"]


def test_split_text_keeps_a_character_that_does_not_fit() -> None:
    assert split_text("ab c", lambda text: text != "c" and len(text) < 1) == ["a", "b", "c"]


@pytest.mark.parametrize(
    "text",
    ["x" * 100_000, "word " * 20_000, "One two. " * 11_000, "!" * 100_000, "A. " * 33_000, ". " * 50_000],
)
def test_split_text_takes_linear_time_on_long_text(text: str) -> None:
    read = 0

    def fits(part: str) -> bool:
        nonlocal read
        read += len(part)
        return len(part) <= 100

    start = time.process_time()
    parts = split_text(text, fits)
    assert "".join(parts).replace(" ", "") == text.replace(" ", "")
    assert read < 15 * len(text)
    assert time.process_time() - start < 5
