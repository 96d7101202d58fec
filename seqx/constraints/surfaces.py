"""A vocabulary as the text that each of its symbols writes, and automata over symbols instead of bytes.

Letters in shapes: V symbols, A nodes, C classes of symbols that lead alike, M sets of phrases.
"""

from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqx.constraints.automaton import DEAD, END, Automaton, automaton
from seqx.interfaces.values import EOS

NEVER = 1 << 14
"""More symbols than any answer has: from here there is no way."""


_SMALL = 400
"""The most characters of phrases whose automaton is cached for other sentences."""


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
        self._beginnings = _Beginnings(
            [
                (text if text is not None else b"\0" if symbol > EOS else b"")
                for symbol, text in enumerate(texts)
            ]
        )
        self._kept = lru_cache(maxsize=64)(self._lifted)

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

    def fits(self, phrase: str, limit: int) -> bool:
        """Return false if an answer of `limit` symbols is too short to contain a phrase.

        It compares the limit with a lower bound of the number of symbols, in time linear in the limit. The
        first symbol may begin before the phrase, and the last one may end after it.
        """
        text = phrase.encode()
        if len(text) > limit * self.longest:
            return False
        if len(text) <= self.longest:
            return limit > 0
        fewest = [1] * (self.longest + 1) + [NEVER] * (len(text) - self.longest)
        for place in range(1, len(text)):
            for _, n in self.within(text[place : place + self.longest + 1]):
                fewest[place + n] = min(fewest[place + n], fewest[place] + 1)
        return min(fewest[-1], 1 + min(fewest[-self.longest - 1 : -1])) <= limit

    def lifted(self, require: tuple[str, ...], forbid: tuple[str, ...]) -> Lifted:
        """Return the automaton of these phrases over symbols except EOS. Small ones are cached."""
        small = sum(map(len, (*require, *forbid))) <= _SMALL
        return (self._kept if small else self._lifted)(require, forbid)

    def _lifted(self, require: tuple[str, ...], forbid: tuple[str, ...]) -> Lifted:
        bytewise = automaton(require, forbid)
        classes, step, found = self._beginnings.classes(bytewise)
        ended = bytewise.step[:, END].numpy(), bytewise.found[:, END].numpy()
        need = _needs(step, found, ended, 1 << len(require))
        return Lifted(
            classes=torch.from_numpy(classes),
            step=torch.from_numpy(step),
            found=torch.from_numpy(found),
            need=torch.from_numpy(need),
            byte_step=bytewise.step,
            byte_found=bytewise.found,
        )


class _Beginnings:
    """A trie of the texts of all symbols, so that a common prefix of several symbols is read once.

    Args:
        texts: the bytes of each symbol
    """

    def __init__(self, texts: Sequence[bytes]) -> None:
        numbers: dict[bytes, int] = {b"": 0}
        # For each prefix: the number of its parent, its last byte, its own number.
        levels: list[list[tuple[int, int, int]]] = [[] for _ in range(max(map(len, texts)))]
        for text in texts:
            for n in range(1, len(text) + 1):
                if text[:n] not in numbers:
                    levels[n - 1].append((numbers[text[: n - 1]], text[n - 1], len(numbers)))
                    numbers[text[:n]] = len(numbers)
        self._count = len(numbers)
        self._levels = [np.array(level).T for level in levels]  # [3, prefixes]
        self._symbols = np.array([numbers[text] for text in texts])  # [V]

    def classes(self, bytewise: Automaton) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Return the class [V] of each symbol, and for each class the next node and the phrases found [A, C].

        Symbols of one class lead from each node to the same node. The cost depends on the number of classes.
        """
        step, found = bytewise.step.numpy(), bytewise.found.numpy()
        alike = np.unique(np.concatenate([step, found])[:, :END], axis=1, return_inverse=True)[1].reshape(-1)
        known: dict[bytes, int] = {}
        tables: list[tuple[NDArray[Any], NDArray[Any]]] = []

        def number(steps: NDArray[Any], finds: NDArray[Any]) -> int:
            which = known.setdefault(steps.tobytes() + finds.tobytes(), len(tables))
            if which == len(tables):
                tables.append((steps, finds))
            return which

        of = np.zeros(self._count, np.int64)  # the class of each prefix
        number(np.arange(len(step)), np.zeros(len(step), np.int64))
        first = {int(kind): byte for byte, kind in reversed([*enumerate(alike)])}
        for above, byte, which in self._levels:
            pairs, places = np.unique(of[above] * END + alike[byte], return_inverse=True)
            after = []
            for pair in pairs.tolist():
                steps, finds = tables[pair // END]
                column = first[pair % END]
                after.append(number(step[steps, column], finds | found[steps, column]))
            of[which] = np.array(after)[places.reshape(-1)]
        used, classes = np.unique(of[self._symbols], return_inverse=True)
        steps, finds = (np.stack(column, 1) for column in zip(*(tables[kind] for kind in used), strict=True))
        return classes.reshape(-1), steps, finds


def _needs(
    step: NDArray[Any], found: NDArray[Any], ended: tuple[NDArray[Any], NDArray[Any]], sets: int
) -> NDArray[np.int16]:
    """Return the fewest symbols until EOS may come, [A, M], by breadth-first search from the end."""
    count = len(step)
    have = np.arange(sets)  # [M]
    node, bits = ended
    need = np.full((count, sets), NEVER, np.int16)
    need[(node[:, None] != DEAD) & ((have | bits[:, None]) == sets - 1)] = 0
    need[DEAD] = NEVER
    edges = (np.arange(count)[:, None] + count * step) * sets + found
    edges = np.unique(edges[step != DEAD])  # sorted by their targets
    edges, finds = np.divmod(edges, sets)
    target, origin = np.divmod(edges, count)
    begin = np.searchsorted(target, np.arange(count + 1))
    changed = np.flatnonzero((need == 0).any(1))
    for _ in range(NEVER - 1):
        lengths = begin[changed + 1] - begin[changed]
        if not lengths.sum():
            break
        into = np.repeat(begin[changed] - (lengths.cumsum() - lengths), lengths) + np.arange(lengths.sum())
        into = into[np.argsort(origin[into], kind="stable")]
        ways = need[target[into][:, None], have | finds[into][:, None]]  # [edges, M]
        nodes, firsts = np.unique(origin[into], return_index=True)
        better = np.minimum(need[nodes], np.minimum.reduceat(ways, firsts) + np.int16(1))
        moved = (better < need[nodes]).any(1)
        need[nodes] = better
        changed = nodes[moved]
    return need
