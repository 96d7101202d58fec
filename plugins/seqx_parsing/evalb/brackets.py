"""A line of brackets as EVALB reads it: words, and labelled spans over them."""

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from seqx_parsing.evalb.parameters import Parameters
from seqx_parsing.reader import SPACE, TEXT, WORD
from seqx_parsing.tree import Leaf

_PART = re.compile(
    rf"(\(({TEXT}){SPACE}+({TEXT})\))"  # a word with its tag; both can be empty, as the word of (ADVP )
    rf"|(\()({TEXT})|(\))|({WORD})"
)
"""The parts of a line as EVALB's C code reads them, character by character.

A label is what directly follows its bracket, and a word is what directly precedes the closing one.
"""

Span = tuple[int, int]  # of words; the second is behind the last

_MOST_QUOTES = 1_000_000  # of one side times the other
_MARKS = frozenset(("'", '"', "/"))  # words that quote


class Quote(NamedTuple):
    """A word that may be a quotation mark, kept or not, and where to put it back."""

    leaf: Leaf
    word: int  # how many words are kept before it
    bracket: int  # how many brackets open before it
    around: tuple[int, ...]  # the brackets that are open there


@dataclass(slots=True)
class Line:
    """The words that are kept and the brackets, in the order in which they open."""

    words: list[Leaf] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    quotes: list[Quote] = field(default_factory=list)
    length: int = 0  # words for the cut-off, punctuation included

    def insert(self, quote: Quote) -> None:
        """Put back a word that was deleted."""
        self.words.insert(quote.word, quote.leaf)
        for bracket in range(quote.bracket, len(self.labels)):
            self.starts[bracket] += 1
            self.ends[bracket] += 1
        for bracket in quote.around:
            self.ends[bracket] += 1

    def scored(self, parameters: Parameters) -> list[tuple[Span, str]]:
        """The brackets that count, with labels cut at the first - or =.

        Those over no words do not count, nor those whose label is deleted.
        """
        found = []
        for label, start, end in zip(self.labels, self.starts, self.ends, strict=True):
            name = label.partition("-")[0].partition("=")[0]
            if start != end and name not in parameters.deleted_labels:
                found.append(((start, end), name))
        return found

    def outermost(self, parameters: Parameters) -> tuple[str | None, list[str], str | None]:
        """Return the label of the bracket around all words, the other labels, and that of its only child.

        Brackets that do not count or have no label are ignored. None: there is no such bracket.
        """
        whole = (0, len(self.words))
        brackets = [(span, name) for span, name in self.scored(parameters) if name]
        around = [name for span, name in brackets[:2] if span == whole]
        if not brackets or brackets[0][0] != whole:
            return None, [name for _, name in brackets], None
        return around[0], [name for _, name in brackets[1:]], around[1] if len(around) > 1 else None


class MalformedError(ValueError):
    """A line is not a tree in brackets.

    Args:
        reason: the message
        wordless: true if EVALB skips the line, because it found no word up to its end
    """

    def __init__(self, reason: str, *, wordless: bool = False) -> None:
        super().__init__(reason)
        self.wordless = wordless


def read_line(text: str, parameters: Parameters) -> Line:
    """Read any number of trees in one line; no tree at all is a line without words.

    More than one tree, a word outside of constituents, an empty bracket and one without a label are allowed,
    as EVALB allows them. White space in an otherwise empty bracket makes it an empty word, as in EVALB:
    `(ADVP )` is a word, `(ADVP)` an empty constituent.

    Raises:
        MalformedError: brackets do not match, or a word is not alone with a tag
    """
    line = Line()
    stack: list[int] = []
    for leaf, tag, word, opens, label, closes, stray in _PART.findall(text):
        if leaf:
            _take(line, Leaf(tag, word), stack, parameters)
        elif opens:
            stack.append(len(line.labels))
            line.labels.append(label)
            line.starts.append(len(line.words))
            line.ends.append(len(line.words))
        elif closes and stack:
            line.ends[stack.pop()] = len(line.words)
        elif closes:
            raise MalformedError("a bracket closes that none has opened")
        else:
            raise MalformedError(
                f"the word {stray!r} is not alone with a tag in brackets, as (NN {stray}), "
                "without white space beside the brackets"
            )
    if stack:
        raise MalformedError(f"{len(stack)} of its brackets are never closed", wordless=not line.words)
    return line


def _take(line: Line, leaf: Leaf, stack: list[int], parameters: Parameters) -> None:
    if leaf.tag not in parameters.delete_for_length:
        line.length += 1
    if leaf.tag in parameters.quotes and leaf.word in _MARKS:
        line.quotes.append(Quote(leaf, len(line.words), len(line.labels), tuple(stack)))
    if leaf.tag not in parameters.deleted_tags:
        line.words.append(leaf)


def mend_quotes(gold: Line, test: Line, parameters: Parameters) -> None:
    """Put back quotation marks that one side deleted by their tag and the other did not.

    They are easily mistaken: ' may be a quote or a possessive. The deletion would leave the sides with
    different words (David Ellis's amendment of 2006). No sentence has thousands, which would take hours.
    """
    deleted = parameters.deleted_tags
    if len(gold.quotes) * len(test.quotes) > _MOST_QUOTES:
        return
    for i in range(len(test.quotes)):
        place = test.quotes[i].word
        for j in range(len(gold.quotes)):
            one, other = gold.quotes[j], test.quotes[i]
            if one.word != place or (one.leaf.tag in deleted) == (other.leaf.tag in deleted):
                continue
            side, first, quote = (gold, j, one) if one.leaf.tag in deleted else (test, i, other)
            side.insert(quote)
            side.quotes[first:] = [later._replace(word=later.word + 1) for later in side.quotes[first:]]
