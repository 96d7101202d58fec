"""A vocabulary as the text that each of its symbols writes, and automata over symbols instead of bytes.

Letters in shapes: V symbols, A nodes, C classes of symbols that lead alike, M sets of phrases.
"""

from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from seqx.constraints.automaton import DEAD, END, automaton
from seqx.interfaces.values import EOS

NEVER = 1 << 14
"""More symbols than any answer has: from here there is no way."""


class Lifted(NamedTuple):
    """An automaton over a vocabulary's symbols."""

    classes: Tensor  # [V] int64 the class of each symbol
    step: Tensor  # [A, C] int64 the next node
    found: Tensor  # [A, C] int64 a bit for each required phrase that has occurred
    need: (
        Tensor  # [A, M] int16 the fewest symbols before EOS may come, when the phrases of a set have occurred
    )
    byte_step: Tensor  # [A, 257] the same of single bytes
    byte_found: Tensor


class Surfaces:
    """The text that each symbol of a vocabulary writes.

    Args:
        texts: the UTF-8 bytes of each symbol, which may be a part of a character; None: of PAD, BOS, EOS and
            of symbols that do not say what they write
    """

    def __init__(self, texts: Sequence[bytes | None]) -> None:
        self.texts = list(texts)
        known = sorted((text, symbol) for symbol, text in enumerate(texts) if text)
        self._sorted = [text for text, _ in known]
        self._symbols = [symbol for _, symbol in known]
        self._exact: dict[bytes, list[int]] = {}
        for text, symbol in known:
            self._exact.setdefault(text, []).append(symbol)
        self.lengths = torch.tensor([len(text or b"") for text in texts])  # [V] bytes
        self.longest = int(self.lengths.max())
        # What is not known is no letter, and no part of a phrase.
        filled = [
            (text if text is not None else b"\0" if symbol > EOS else b"")
            for symbol, text in enumerate(texts)
        ]
        self._order = torch.tensor(sorted(range(len(filled)), key=lambda i: -len(filled[i])))
        written = [filled[i] for i in self._order.tolist()]
        self._columns = [  # of bytes: the first of each symbol, the second of those that have one, ...
            torch.tensor([text[place] for text in written if len(text) > place])
            for place in range(self.longest)
        ]
        self.lifted = lru_cache(maxsize=64)(self._lifted)

    def __len__(self) -> int:
        return len(self.texts)

    def within(self, text: bytes) -> list[tuple[int, int]]:
        """The symbols that write a beginning of `text`, but not all of it, and how many bytes each writes."""
        most = min(self.longest, len(text) - 1)
        return [(symbol, n) for n in range(1, most + 1) for symbol in self._exact.get(text[:n], ())]

    def beyond(self, text: bytes) -> list[int]:
        """The symbols whose text begins with `text`."""
        place = bisect_left(self._sorted, text)
        found = []
        while place < len(self._sorted) and self._sorted[place].startswith(text):
            found.append(self._symbols[place])
            place += 1
        return found

    def _lifted(self, require: tuple[str, ...], forbid: tuple[str, ...]) -> Lifted:
        """The automaton of these phrases over symbols; EOS is no symbol of it."""
        byte_step, byte_found = automaton(require, forbid)
        count = len(byte_step)
        step = torch.arange(count)[:, None].repeat(1, len(self))  # [A, V], symbols of longest texts first
        found = torch.zeros_like(step)
        for column in self._columns:
            here = step[:, : len(column)]
            found[:, : len(column)] |= byte_found[here, column]
            step[:, : len(column)] = byte_step[here, column]
        both, classes = torch.unique(torch.cat([step, found]), dim=1, return_inverse=True)
        step, found = both[:count], both[count:]
        classes = torch.empty_like(classes).scatter(0, self._order, classes)
        ended = torch.stack([byte_step[:, END], byte_found[:, END]])
        return Lifted(
            classes, step, found, _needs(step, found, ended, 1 << len(require)), byte_step, byte_found
        )


def _needs(step: Tensor, found: Tensor, ended: Tensor, sets: int) -> Tensor:
    """The length of the shortest way to where EOS may come: [A, M]."""
    count, device = len(step), step.device
    have = torch.arange(sets, device=device)  # [M]
    node, bits = ended[:, :, None]
    may_end = (node != DEAD) & ((have | bits) == sets - 1)  # [A, M]
    need = torch.full((count, sets), NEVER).masked_fill(may_end, 0)
    need[DEAD] = NEVER
    origin = torch.arange(count)[:, None].expand_as(step)
    edges = torch.unique(torch.stack([origin, step, found]).flatten(1), dim=1)  # [3, edges]
    edges = edges[:, (edges[0] != DEAD) & (edges[1] != DEAD)]
    after = have | edges[2][:, None]  # [edges, M]
    while True:
        ways = need[edges[1][:, None], after] + 1
        better = need.scatter_reduce(0, edges[0][:, None].expand_as(ways), ways, "amin")
        if better.equal(need):
            return need.to(torch.int16)
        need = better
