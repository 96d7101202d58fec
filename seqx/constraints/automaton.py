"""A finite automaton that reads text byte by byte and tells which phrases occur in it.

Letters in shapes: A nodes, 257 symbols: the bytes, and the end of the text.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

END = 256
"""The symbol that follows the last byte of a text."""

DEAD = 1
"""The node that is never left: a forbidden phrase has occurred."""

START = 0

_Place = tuple[int, int]
"""A phrase, and how many of its bytes have been read; all of them: the word must not go on."""

_Node = tuple[bool, frozenset[_Place]]
"""Whether the last character belongs to a word, and the phrases that may be being read."""


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
    return _Builder(require, forbid).build()


class _Builder:
    def __init__(self, require: Sequence[str], forbid: Sequence[str]) -> None:
        phrases = [*require, *forbid]
        self.phrases = [phrase.encode() for phrase in phrases]
        self.opens = [word(phrase[0]) for phrase in phrases]
        self.closes = [word(phrase[-1]) for phrase in phrases]
        self.required = len(require)

    def build(self) -> Automaton:
        """All nodes that can be reached, and their steps."""
        own = sorted({byte for phrase in self.phrases for byte in phrase})
        others: dict[tuple[bool, bool], int] = {}  # bytes of no phrase differ by their kind alone
        like = list(range(END + 1))
        for byte in range(END):
            if byte not in own:
                like[byte] = others.setdefault((_begins_word(byte), _continues(byte)), byte)
        nodes: dict[_Node | None, int] = {(False, frozenset()): START, None: DEAD}
        waiting: list[_Node] = [(False, frozenset())]
        steps: dict[int, tuple[list[int], list[int]]] = {DEAD: ([DEAD] * (END + 1), [0] * (END + 1))}
        while waiting:
            node = waiting.pop()
            step, found = [0] * (END + 1), [0] * (END + 1)
            for symbol in (*own, *others.values(), END):
                after, bits = self._after(node, symbol)
                if after is not None and after not in nodes:
                    waiting.append(after)
                step[symbol], found[symbol] = nodes.setdefault(after, len(nodes)), bits
            steps[nodes[node]] = [step[i] for i in like], [found[i] for i in like]
        ordered = [steps[i] for i in range(len(nodes))]
        return Automaton(torch.tensor([s for s, _ in ordered]), torch.tensor([f for _, f in ordered]))

    def _after(self, node: _Node, symbol: int) -> tuple[_Node | None, int]:
        """The node after one more symbol, None: a forbidden phrase has occurred; and what else has."""
        inside, _ = node
        ends = symbol == END or not _begins_word(symbol)  # the word that came before
        places, bits = set[_Place](), 0
        for phrase, read in self._reading(node):
            whole = len(self.phrases[phrase])
            occurred = read == whole and ends
            if read < whole and self.phrases[phrase][read] == symbol:
                occurred = read + 1 == whole and not self.closes[phrase]
                if not occurred:
                    places.add((phrase, read + 1))
            if occurred and phrase >= self.required:
                return None, 0
            bits |= occurred << phrase
        if symbol == END:
            return (False, frozenset()), bits
        return (inside if _continues(symbol) else _begins_word(symbol), frozenset(places)), bits

    def _reading(self, node: _Node) -> Iterator[_Place]:
        inside, places = node
        yield from places
        yield from ((phrase, 0) for phrase, opens in enumerate(self.opens) if not (inside and opens))
