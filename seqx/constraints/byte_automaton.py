"""An automaton that reads text byte by byte and tells which phrases occur in it.

It is the automaton of Aho and Corasick (1975, Efficient string matching, Communications of the ACM 18): a
trie of all phrases, in which each node also has the transitions of its longest proper suffix that is a node
(its failure link). It is deterministic, so that a text of n bytes takes n transitions, however many phrases
there are. Two things are added. A phrase occurs only at the edges of words: "cat" does not occur in "cats",
and "," occurs anywhere. And once a forbidden phrase has occurred, the automaton stays in a dead node.

Letters in shapes: A nodes, 257 inputs: the bytes and the end of the text.
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
"""The node outside of a word, where no phrase has begun."""

DEAD = 1
"""The node after a forbidden phrase, which is never left."""

_INSIDE_WORD = 2
"""The node inside a word, where no phrase has begun."""


class ByteAutomaton(NamedTuple):
    """Transitions of the automaton, and the phrases that each of them completes."""

    next_node: Tensor  # [A, 257] int64
    matches: Tensor  # [A, 257] int64: one bit for each required phrase that occurs in front of this input


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

    Other scripts, such as Chinese or Japanese, put no spaces between words; the rest is punctuation.
    """
    return (character.isascii() and character.isalnum()) or "\u00c0" <= character <= "\u1fff"


def _begins_word(byte: int) -> bool:
    """Return true if the character whose first byte this is belongs to a word."""
    return chr(byte).isalnum() if byte < 0x80 else 0xC3 <= byte <= 0xE1


def _continues_character(byte: int) -> bool:
    return 0x80 <= byte < 0xC0


class _Trie:
    """A trie of the phrases: each node stands for a prefix of a phrase.

    `at_word_end` and `immediate` have, for each node, one bit for each phrase that ends there. A phrase whose
    last character belongs to a word is `at_word_end`: it occurs only if the word ends there. Any other phrase
    is `immediate`.
    """

    def __init__(self) -> None:
        self.children: list[dict[int, int]] = [{}, {}, {}]  # of START, DEAD and _INSIDE_WORD
        self.at_word_end, self.immediate = [0, 0, 0], [0, 0, 0]

    def add(self, phrase: str, bit: int) -> None:
        """Add a phrase, which `bit` stands for."""
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
        """Return the next node for each node and input, and add the bits of each node's suffixes to it.

        This is a breadth-first search. A node copies the transitions of its failure link, which are complete
        because its prefix is shorter, and then overwrites those to its own children.
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
