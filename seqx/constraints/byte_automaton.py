"""An automaton that reads text byte by byte and finds phrases in it.

It is the automaton of Aho and Corasick (1975, Efficient string matching, Communications of the ACM 18): a
trie of all phrases, in which each node also has the transitions of its longest proper suffix that is a node
(its failure link). It is deterministic: a text of n bytes takes n transitions for any number of phrases. It
has two extensions. First, a phrase matches whole words only: "cat" does not occur in "cats", but "," occurs
anywhere. Second, the automaton stays in a dead node after a forbidden phrase.

Letters in shapes: A nodes. The 257 inputs are the bytes and the end of the text.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

END_OF_TEXT = 256
"""The input that follows the last byte of a text."""

START = 0
"""The node outside of words, before any phrase."""

DEAD = 1
"""The node after a forbidden phrase. No transition leaves it."""

_INSIDE_WORD = 2
"""The node inside a word that begins no phrase."""


class ByteAutomaton(NamedTuple):
    """The transitions of the automaton, and the required phrases that each transition completes."""

    next_node: Tensor  # [A, 257] int64
    matches: Tensor  # [A, 257] int64: one bit for each required phrase that the transition completes


def build_byte_automaton(require: Sequence[str], forbid: Sequence[str]) -> ByteAutomaton:
    """Build the automaton of required and forbidden phrases. Bit i of `matches` stands for `require[i]`."""
    trie = _Trie()
    for number, phrase in enumerate(require):
        trie.add(phrase, 1 << number)
    forbidden = 1 << len(require)
    for phrase in forbid:
        trie.add(phrase, forbidden)
    next_node = trie.add_failure_links()
    at_word_end, immediate = np.array(trie.at_word_end), np.array(trie.immediate)
    ends_word = np.array([not _begins_word(byte) for byte in range(END_OF_TEXT)] + [True])
    matches = immediate[next_node] | np.where(ends_word, at_word_end[:, None], 0)
    dead = (matches & forbidden) > 0
    next_node[dead], matches[dead] = DEAD, 0
    next_node[DEAD], matches[DEAD] = DEAD, 0
    return ByteAutomaton(torch.from_numpy(next_node), torch.from_numpy(matches))


def is_word_character(character: str) -> bool:
    """Return true for ASCII letters and digits, and for the scripts of U+00C0 to U+1FFF.

    Other characters are punctuation, or belong to scripts without spaces between words, such as Chinese.
    """
    return (character.isascii() and character.isalnum()) or "\u00c0" <= character <= "\u1fff"


def _begins_word(byte: int) -> bool:
    """Return true if characters with this first byte are word characters."""
    return chr(byte).isalnum() if byte < 0x80 else 0xC3 <= byte <= 0xE1


def _continues_character(byte: int) -> bool:
    """Return true for the second and later bytes of a character in UTF-8."""
    return 0x80 <= byte < 0xC0


class _Trie:
    """A trie of the phrases: each node stands for a prefix of a phrase.

    `at_word_end` and `immediate` hold, for each node, one bit for each phrase that ends there. A phrase that
    ends with a word character is in `at_word_end`: it matches only if the word ends there, too. Any other
    phrase is in `immediate`.
    """

    def __init__(self) -> None:
        self.children: list[dict[int, int]] = [{}, {}, {}]  # of START, DEAD and _INSIDE_WORD
        self.at_word_end, self.immediate = [0, 0, 0], [0, 0, 0]

    def add(self, phrase: str, bit: int) -> None:
        """Add a phrase, which is represented by `bit`."""
        node = START
        for byte in phrase.encode():
            if byte not in self.children[node]:
                self.children[node][byte] = len(self.children)
                self.children.append({})
                self.at_word_end.append(0)
                self.immediate.append(0)
            node = self.children[node][byte]
        (self.at_word_end if is_word_character(phrase[-1]) else self.immediate)[node] |= bit

    def add_failure_links(self) -> NDArray[np.int64]:
        """Return the next node for each node and input [A, 257]; add to each node the bits of its suffixes.

        This is a breadth-first search. A node copies the transitions of its failure link, and then overwrites
        those to its own children. The failure link is complete by then, because its prefix is shorter.
        """
        next_node = np.full((len(self.children), END_OF_TEXT + 1), START, np.int64)
        begins = np.array([_begins_word(byte) for byte in range(END_OF_TEXT)])
        continues = np.array([_continues_character(byte) for byte in range(END_OF_TEXT)])
        next_node[START, :END_OF_TEXT] = np.where(begins, _INSIDE_WORD, START)
        queue = [(child, int(next_node[START, byte])) for byte, child in self.children[START].items()]
        for byte, child in self.children[START].items():
            next_node[START, byte] = child
        next_node[_INSIDE_WORD] = next_node[START]
        next_node[_INSIDE_WORD, :END_OF_TEXT][begins | continues] = _INSIDE_WORD  # no phrase begins in a word
        for node, failure_link in queue:  # the queue grows in the loop
            self.at_word_end[node] |= self.at_word_end[failure_link]
            self.immediate[node] |= self.immediate[failure_link]
            next_node[node] = next_node[failure_link]
            queue += [(child, int(next_node[node, byte])) for byte, child in self.children[node].items()]
            for byte, child in self.children[node].items():
                next_node[node, byte] = child
        return next_node
