"""Read a line of brackets as EVALB does: its words, and labelled spans of words."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from seqx_parsing.evalb.parameters import Parameters
from seqx_parsing.reader import SPACE, TEXT, WORD
from seqx_parsing.tree import Leaf

_PART = re.compile(
    rf"(\(({TEXT}){SPACE}+({TEXT})\))"  # a word with its tag; both may be empty: (ADVP ) is an empty word
    rf"|(\()({TEXT})|(\))|({WORD})"
)
"""Regular expression of the tokens of a line, equal to what EVALB's C code reads character by character.

A label directly follows its bracket, and a word directly precedes its closing bracket.
"""

Span = tuple[int, int]  # first word, and the word after the last

_MOST_QUOTES = 1_000_000  # maximum product of the numbers of gold and of test quotation marks
_MARKS = frozenset(("'", '"', "/"))  # words that are quotation marks if QUOTE_LABEL names their tag


class QuoteMark(NamedTuple):
    """A word that may be a quotation mark, and its position for `insert`; it may have been deleted."""

    leaf: Leaf
    word: int  # number of words before it that were not deleted
    bracket: int  # number of brackets opened before it
    open_brackets: tuple[int, ...]  # indices of the brackets that are open at its position


@dataclass(slots=True)
class BracketedLine:
    """The words of a line that are not deleted, and its brackets in the order in which they open."""

    words: list[Leaf] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    quotes: list[QuoteMark] = field(default_factory=list)
    length: int = 0  # number of words, including punctuation; compared with CUTOFF_LEN

    def insert(self, quote: QuoteMark) -> None:
        """Insert a word that was deleted."""
        self.words.insert(quote.word, quote.leaf)
        for bracket in range(quote.bracket, len(self.labels)):
            self.starts[bracket] += 1
            self.ends[bracket] += 1
        for bracket in quote.open_brackets:
            self.ends[bracket] += 1

    def scored(self, parameters: Parameters) -> list[tuple[Span, str]]:
        """Return the brackets that count, with labels cut at the first - or =.

        Brackets without words and brackets with a deleted label do not count.
        """
        return [bracket for _, bracket in self.numbered(parameters)]

    def numbered(self, parameters: Parameters) -> Iterator[tuple[int, tuple[Span, str]]]:
        """Yield the brackets that count, see `scored`, each with its number in the order of opening."""
        for number, (label, *span) in enumerate(zip(self.labels, self.starts, self.ends, strict=True)):
            name, (start, end) = label.partition("-")[0].partition("=")[0], span
            if start != end and name not in parameters.deleted_labels:
                yield number, ((start, end), name)

    def outermost(self, parameters: Parameters) -> tuple[str | None, list[str], str | None]:
        """Return the outermost bracket's label, all other labels, and the label of its only child.

        The outermost bracket spans all words. Brackets that do not count or have no label are ignored. If
        there is no outermost bracket or no only child, its label is None.
        """
        whole = (0, len(self.words))
        brackets = [(span, name) for span, name in self.scored(parameters) if name]
        spanning = [name for span, name in brackets[:2] if span == whole]
        if not brackets or brackets[0][0] != whole:
            return None, [name for _, name in brackets], None
        return spanning[0], [name for _, name in brackets[1:]], spanning[1] if len(spanning) > 1 else None


class MalformedError(ValueError):
    """A line is not a bracketed tree.

    Args:
        reason: the message
        wordless: true if the line has no words, so that EVALB skips it
    """

    def __init__(self, reason: str, *, wordless: bool = False) -> None:
        super().__init__(reason)
        self.wordless = wordless


def read_line(text: str, parameters: Parameters) -> BracketedLine:
    """Read any number of trees in one line; an empty line has no words.

    As EVALB does, this accepts several trees, words outside of constituents, empty brackets and brackets
    without a label. White space in an otherwise empty bracket is an empty word: `(ADVP )` is a word, `(ADVP)`
    an empty constituent.

    Raises:
        MalformedError: brackets do not match, or a word has no bracket of its own
    """
    line = BracketedLine()
    stack: list[int] = []
    for leaf, tag, word, opens, label, closes, stray in _PART.findall(text):
        if leaf:
            _add_word(line, Leaf(tag, word), stack, parameters)
        elif opens:
            stack.append(len(line.labels))
            line.labels.append(label)
            line.starts.append(len(line.words))
            line.ends.append(len(line.words))
        elif closes and stack:
            line.ends[stack.pop()] = len(line.words)
        elif closes:
            raise MalformedError("a closing bracket has no opening bracket")
        else:
            raise MalformedError(
                f"the word {stray!r} is not in a bracket of its own with a tag, as in (NN {stray}), "
                "without white space next to the brackets"
            )
    if stack:
        raise MalformedError(f"brackets are not closed: {len(stack)}", wordless=not line.words)
    return line


def bracket_ranges(text: str) -> list[tuple[int, int]]:
    """Return the start and the end of each constituent of a line, in characters; outer constituents first."""
    ranges: list[tuple[int, int]] = []
    stack: list[int] = []
    for part in _PART.finditer(text):
        if part.group(4):
            stack.append(len(ranges))
            ranges.append((part.start(), len(text)))
        elif part.group(6) and stack:
            number = stack.pop()
            ranges[number] = (ranges[number][0], part.end())
    return ranges


def _add_word(line: BracketedLine, leaf: Leaf, stack: list[int], parameters: Parameters) -> None:
    if leaf.tag not in parameters.delete_for_length:
        line.length += 1
    if leaf.tag in parameters.quotes and leaf.word in _MARKS:
        line.quotes.append(QuoteMark(leaf, len(line.words), len(line.labels), tuple(stack)))
    if leaf.tag not in parameters.deleted_tags:
        line.words.append(leaf)


def restore_quotes(gold: BracketedLine, test: BracketedLine, parameters: Parameters) -> None:
    """Restore quotation marks that were deleted on one side only, because of their tags.

    Tags of quotation marks are ambiguous: ' may be a quotation mark or a possessive. If it were deleted on
    one side only, the two sides would have different words (amendment of David Ellis, 2006). With more marks
    than `_MOST_QUOTES` allows, none is restored, because the time is quadratic.
    """
    deleted = parameters.deleted_tags
    if len(gold.quotes) * len(test.quotes) > _MOST_QUOTES:
        return
    for i in range(len(test.quotes)):
        index = test.quotes[i].word
        for j in range(len(gold.quotes)):
            one, other = gold.quotes[j], test.quotes[i]
            if one.word != index or (one.leaf.tag in deleted) == (other.leaf.tag in deleted):
                continue
            side, first, quote = (gold, j, one) if one.leaf.tag in deleted else (test, i, other)
            side.insert(quote)
            side.quotes[first:] = [later._replace(word=later.word + 1) for later in side.quotes[first:]]
