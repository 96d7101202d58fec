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
"""The node inside a word where no phrase has begun; at `START` the text is not inside a word."""


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
    ends = np.array(
        [not _begins_word(byte) for byte in range(END)] + [True]
    )  # a word before this symbol ends here
    found = instant[step] | np.where(ends, waiting[:, None], 0)
    dead = (found & forbidden) > 0
    step[dead], found[dead] = DEAD, 0
    step[DEAD], found[DEAD] = DEAD, 0
    return Automaton(torch.from_numpy(step), torch.from_numpy(found))


class _Trie:
    """A trie of the phrases, in which each node is a prefix of a phrase.

    At a node, the phrases with this prefix may be in progress, and those with a prefix that is a suffix of
    the node's text and does not begin inside a word. `waiting` and `instant` have a bit for each phrase that
    ends at the node. A phrase that ends in a letter is `waiting`: it occurs only if the word ends there.
    """

    def __init__(self) -> None:
        self.children: list[dict[int, int]] = [{}, {}, {}]  # of START, DEAD, _INSIDE
        self.waiting, self.instant = [0, 0, 0], [0, 0, 0]

    def add(self, phrase: str, bit: int) -> None:
        """Add a phrase, which `bit` stands for."""
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
        """Return the next node for each node and byte, and add to each node the bits of its suffixes."""
        step = np.full((len(self.children), END + 1), START, np.int64)
        words = np.array([_begins_word(byte) for byte in range(END)])
        within = np.array([_continues(byte) for byte in range(END)])
        step[START, :END] = np.where(words, _INSIDE, START)
        queue = [(child, int(step[START, byte])) for byte, child in self.children[START].items()]
        for byte, child in self.children[START].items():
            step[START, byte] = child
        step[_INSIDE] = step[START]
        step[_INSIDE, :END][words | within] = _INSIDE  # no phrase begins within a word
        for (
            node,
            shorter,
        ) in queue:  # the queue grows in the loop; `shorter`, the longest suffix, was handled before
            self.waiting[node] |= self.waiting[shorter]
            self.instant[node] |= self.instant[shorter]
            step[node] = step[shorter]
            queue += [(child, int(step[node, byte])) for byte, child in self.children[node].items()]
            for byte, child in self.children[node].items():
                step[node, byte] = child
        return step
