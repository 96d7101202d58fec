"""Groups of mistakes in answers that are texts: length, repetition, copied words, numbers, words."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import islice

from seqx.interfaces.mistakes import Marks, Mistake, MistakeGroup
from seqx.interfaces.scores import Answer

EXAMPLES = 20
"""The maximum number of examples of a group."""

MAX_WORDS = 10
"""The maximum number of words that have groups of their own, the most frequent mistakes first."""

_MIN_DIFFERENCE = 3  # words by which an answer that is too short or too long differs from its reference
_MIN_COPIED = 4  # letters of a source word that counts as copied
_MAX_PHRASE = 6  # words of a repeated phrase

_TOKEN = re.compile(r"\w+(?:[-'’.,]\w+)*|[^\w\s]")  # noqa: RUF001  a typographic apostrophe
_SENTENCE_ENDS = frozenset(".!?")
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")


def text_mistakes(answers: Sequence[Answer]) -> list[MistakeGroup]:
    """Return the groups of mistakes that occur.

    An answer with several references is compared with the closest. Words are separated by white space or
    punctuation, so groups about words suit languages that write spaces.
    """
    references = [_closest(answer) for answer in answers]
    groups = [_group(check, answers, references) for check in _CHECKS]
    groups += _word_groups(answers, references)
    return [group for group in groups if group.count]


def _closest(answer: Answer) -> str:
    """Return the reference that has most words in common with the output."""
    if not answer.more_references:
        return answer.reference
    words = Counter(_words(answer.output))
    references = (answer.reference, *answer.more_references)
    return max(references, key=lambda reference: (words & Counter(_words(reference))).total())


Find = Callable[[Answer, str], str | None]
"""A function of an answer and its reference that returns the details of a mistake; None: no mistake."""


Mark = Callable[[Answer, str, str], Marks]
"""A function of an answer, its reference and the details of a mistake that returns the marks."""


@dataclass(frozen=True)
class _Check:
    """The name and the category of a group of mistakes, how they are found, and how they are marked."""

    name: str
    category: str
    find: Find
    mark: Mark


def _group(check: _Check, answers: Sequence[Answer], references: Sequence[str]) -> MistakeGroup:
    found = [
        (index, detail)
        for index, (answer, reference) in enumerate(zip(answers, references, strict=True))
        if (detail := check.find(answer, reference)) is not None
    ]
    examples = [
        Mistake(
            index=index,
            detail=detail,
            marks=check.mark(answers[index], references[index], detail),
            reference=references[index],
        )
        for index, detail in found[:EXAMPLES]
    ]
    return MistakeGroup(
        name=check.name,
        category=check.category,
        count=len(found),
        total=len(answers),
        unit="answers",
        examples=examples,
    )


def _mark_nothing(_: Answer, __: str, ___: str) -> Marks:
    return {}


def _mark_output(answer: Answer, _: str, __: str) -> Marks:
    return {"output": [(0, len(answer.output))]}


def _mark_repeated(answer: Answer, _: str, phrase: str) -> Marks:
    twice = re.compile(r"\W+".join(map(re.escape, phrase.split(" ") * 2)))
    return {"output": [match.span() for match in twice.finditer(answer.output)]}


def _mark_copied_words(answer: Answer, _: str, words: str) -> Marks:
    copied = words.split(", ")
    return {"input": _find_words(answer.input, copied), "output": _find_words(answer.output, copied)}


def _mark_wrong_numbers(answer: Answer, reference: str, _: str) -> Marks:
    written, expected = ({*_NUMBER.findall(text)} for text in (answer.output, reference))
    return {
        side: [each.span() for each in _NUMBER.finditer(text) if each.group() not in other]
        for side, text, other in (("output", answer.output, expected), ("reference", reference, written))
    }


def _mark_differences(answer: Answer, reference: str, _: str) -> Marks:
    """Return the ranges of words in which the output and the reference differ."""
    words = [[*re.finditer(r"\S+", text)] for text in (answer.output, reference)]
    one, other = ([each.group() for each in side] for side in words)
    matcher = SequenceMatcher(None, one, other, autojunk=False)
    marks: dict[str, list[tuple[int, int]]] = {"output": [], "reference": []}
    for kind, start, end, other_start, other_end in matcher.get_opcodes():
        for side, found in (("output", words[0][start:end]), ("reference", words[1][other_start:other_end])):
            if kind != "equal" and found:
                marks[side].append((found[0].start(), found[-1].end()))
    return marks


def _find_words(text: str, words: Iterable[str]) -> list[tuple[int, int]]:
    """Return the ranges of the words in a text, whatever their case."""
    folded = {word.casefold() for word in words}
    return [each.span() for each in _TOKEN.finditer(text) if each.group().casefold() in folded]


def _words(text: str) -> list[str]:
    return [token for token in _TOKEN.findall(text) if token[0].isalnum()]


def _words_of_sentences(text: str) -> Iterator[tuple[str, bool]]:
    """Yield the words of a text, and true for the first word of each sentence."""
    begins = True
    for token in _TOKEN.findall(text):
        if token[0].isalnum():
            yield token, begins
            begins = False
        elif token in _SENTENCE_ENDS:
            begins = True


def _find_empty(answer: Answer, reference: str) -> str | None:
    return "" if not answer.output.strip() and reference.strip() else None


def _find_short(answer: Answer, reference: str) -> str | None:
    length, expected = len(_words(answer.output)), len(_words(reference))
    too_short = answer.output.strip() and length <= min(0.7 * expected, expected - _MIN_DIFFERENCE)
    return f"{length} words, the reference has {expected}" if too_short else None


def _find_long(answer: Answer, reference: str) -> str | None:
    length, expected = len(_words(answer.output)), len(_words(reference))
    too_long = length >= max(1.4 * expected, expected + _MIN_DIFFERENCE)
    return f"{length} words, the reference has {expected}" if too_long else None


def _find_repeated(answer: Answer, reference: str) -> str | None:
    """Find a phrase that directly follows itself in the output, but not in the reference."""
    allowed = set(_repetitions(reference))
    return next((phrase for phrase in _repetitions(answer.output) if phrase not in allowed), None)


def _repetitions(text: str) -> Iterator[str]:
    words = _words(text)
    for size in range(_MAX_PHRASE, 0, -1):
        for start in range(len(words) - 2 * size + 1):
            phrase = words[start : start + size]
            if phrase == words[start + size : start + 2 * size]:
                yield " ".join(phrase)


def _find_copied_input(answer: Answer, reference: str) -> str | None:
    same = answer.output.strip() == answer.input.strip() != reference.strip()
    return "" if same and answer.output.strip() else None


def _find_copied_words(answer: Answer, reference: str) -> str | None:
    """Find words of the input in the output that are not in the reference."""
    expected = {word.casefold() for word in _words(reference)}
    source = {word.casefold() for word in _words(answer.input)}
    copied = [
        word
        for word in dict.fromkeys(_words(answer.output))
        if word.isalpha() and len(word) >= _MIN_COPIED and word.casefold() in source - expected
    ]
    return ", ".join(copied) or None


def _find_wrong_numbers(answer: Answer, reference: str) -> str | None:
    written, expected = (Counter(_NUMBER.findall(text)) for text in (answer.output, reference))
    missing, extra = sorted((expected - written).elements()), sorted((written - expected).elements())
    if not missing and not extra:
        return None
    return f"{', '.join(extra) or 'none'} instead of {', '.join(missing) or 'none'}"


def _find_case(answer: Answer, reference: str) -> str | None:
    one, other = " ".join(answer.output.split()), " ".join(reference.split())
    return "" if one != other and one.casefold() == other.casefold() else None


def _find_punctuation(answer: Answer, reference: str) -> str | None:
    equal = " ".join(answer.output.split()) == " ".join(reference.split())
    words = _words(reference)
    return "" if words and not equal and _words(answer.output) == words else None


def _word_groups(answers: Sequence[Answer], references: Sequence[str]) -> Iterator[MistakeGroup]:
    """Yield groups of words that are missing in outputs, and of words that outputs have in excess.

    The first word of a sentence is lower-cased, unless it has a capital inside of a sentence too.
    """
    inner_words = {
        word
        for text in (*(answer.output for answer in answers), *references)
        for word, begins in _words_of_sentences(text)
        if not begins
    }

    def count(text: str) -> Counter[str]:
        return Counter(
            word.lower() if begins and word not in inner_words else word
            for word, begins in _words_of_sentences(text)
        )

    missing, extra = defaultdict[str, list[int]](list), defaultdict[str, list[int]](list)
    in_references, in_outputs = Counter[str](), Counter[str]()
    for index, (answer, reference) in enumerate(zip(answers, references, strict=True)):
        written, expected = count(answer.output), count(reference)
        in_outputs.update(written)
        in_references.update(expected)
        for found, difference in ((missing, expected - written), (extra, written - expected)):
            for word, times in difference.items():
                found[word] += [index] * times
    texts = {"output": [answer.output for answer in answers], "reference": references}
    for category, side, groups, totals, unit in (
        ("missing words", "reference", missing, in_references, "occurrences in references"),
        ("extra words", "output", extra, in_outputs, "occurrences in outputs"),
    ):
        for word, indices in islice(
            sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])), MAX_WORDS
        ):
            yield MistakeGroup(
                name=word,
                category=category,
                count=len(indices),
                total=totals[word],
                unit=unit,
                examples=[
                    Mistake(
                        index=index,
                        marks={side: _find_words(texts[side][index], [word])},
                        reference=references[index],
                    )
                    for index in [*dict.fromkeys(indices)][:EXAMPLES]
                ],
            )


_CHECKS = (
    _Check("empty answer", "length", _find_empty, _mark_nothing),
    _Check("too short", "length", _find_short, _mark_differences),
    _Check("too long", "length", _find_long, _mark_differences),
    _Check("repeated phrase", "repetition", _find_repeated, _mark_repeated),
    _Check("copied input", "copying", _find_copied_input, _mark_output),
    _Check("copied source words", "copying", _find_copied_words, _mark_copied_words),
    _Check("wrong numbers", "numbers", _find_wrong_numbers, _mark_wrong_numbers),
    _Check("only case differs", "spelling", _find_case, _mark_differences),
    _Check("only punctuation differs", "spelling", _find_punctuation, _mark_differences),
)
