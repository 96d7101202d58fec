"""A finite automaton that reads text byte by byte and tells which phrases occur in it.

Letters in shapes: A nodes, 257 symbols: the bytes, and the end of the text.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

END = 256
"""The symbol that follows the last byte of a text."""

DEAD = 1
"""The node that is never left: a forbidden phrase has occurred."""

START = 0

_INSIDE = 2
"""The node at which no phrase is being read, but a word is; at `START` no word is, either."""


class Automaton(NamedTuple):
    """Where each byte leads from each node, and what has occurred then."""

    step: Tensor  # [A, 257] int64 the next node
    found: Tensor  # [A, 257] int64 a bit for each required phrase whose occurrence the symbol has confirmed


def word(character: str) -> bool:
    """Whether a character belongs to a word: ASCII letters and digits, and the scripts of U+00C0 to U+1FFF.

    Other scripts, as Chinese or Japanese, put no spaces between words; the rest is punctuation.
    """
    return (character.isascii() and character.isalnum()) or "\u00c0" <= character <= "\u1fff"


def _begins_word(byte: int) -> bool:
    """The same of the character that a byte begins."""
    return chr(byte).isalnum() if byte < 0x80 else 0xC3 <= byte <= 0xE1


def _continues(byte: int) -> bool:
    """Whether a byte stands within a character."""
    return 0x80 <= byte < 0xC0


def automaton(require: Sequence[str], forbid: Sequence[str]) -> Automaton:
    """What tells the occurrences of phrases (Aho & Corasick 1975, with the edges of words).

    A phrase occurs where its characters do, unless a word goes on beyond its beginning or its end: "cat" does
    not occur in "cats", and "," occurs wherever it stands.
    """
    trie = _Trie()
    for number, phrase in enumerate(require):
        trie.add(phrase, 1 << number)
    forbidden = 1 << len(require)
    for phrase in forbid:
        trie.add(phrase, forbidden)
    step = trie.links()
    waiting, instant = np.array(trie.waiting), np.array(trie.instant)
    ends = np.array([not _begins_word(byte) for byte in range(END)] + [True])  # the word that came before
    found = instant[step] | np.where(ends, waiting[:, None], 0)
    dead = (found & forbidden) > 0
    step[dead], found[dead] = DEAD, 0
    step[DEAD], found[DEAD] = DEAD, 0
    return Automaton(torch.from_numpy(step), torch.from_numpy(found))


class _Trie:
    """The beginnings of phrases as a tree, each of them a node that stands for all that are being read there.

    Those are its own text and each end of it that is the beginning of a phrase, too, and at whose first
    character no word goes on. `waiting` and `instant` are bits of phrases that have been read whole: those
    that end in a letter have not occurred before it is clear that no word goes on.
    """

    def __init__(self) -> None:
        self.children: list[dict[int, int]] = [{}, {}, {}]  # of START, DEAD, _INSIDE
        self.waiting, self.instant = [0, 0, 0], [0, 0, 0]

    def add(self, phrase: str, bit: int) -> None:
        """Add a phrase, told by a bit."""
        node = START
        for byte in phrase.encode():
            if byte not in self.children[node]:
                self.children[node][byte] = len(self.children)
                self.children.append({})
                self.waiting.append(0)
                self.instant.append(0)
            node = self.children[node][byte]
        (self.waiting if word(phrase[-1]) else self.instant)[node] |= bit

    def links(self) -> NDArray[np.int64]:
        """Return the node after each byte from each node, and complete the bits of each."""
        step = np.full((len(self.children), END + 1), START, np.int64)
        words = np.array([_begins_word(byte) for byte in range(END)])
        within = np.array([_continues(byte) for byte in range(END)])
        step[START, :END] = np.where(words, _INSIDE, START)
        queue = [(child, int(step[START, byte])) for byte, child in self.children[START].items()]
        for byte, child in self.children[START].items():
            step[START, byte] = child
        step[_INSIDE] = step[START]
        step[_INSIDE, :END][words | within] = _INSIDE  # no phrase begins within a word
        for node, shorter in queue:  # which grows: the longest ends of a text come before it
            self.waiting[node] |= self.waiting[shorter]
            self.instant[node] |= self.instant[shorter]
            step[node] = step[shorter]
            queue += [(child, int(step[node, byte])) for byte, child in self.children[node].items()]
            for byte, child in self.children[node].items():
                step[node, byte] = child
        return step
