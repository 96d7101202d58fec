"""The text of each symbol of a vocabulary, and the automata that depend on these texts."""

from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache

import torch

from seqx.constraints.token_automaton import UNREACHABLE, SurfaceTrie, TokenAutomaton
from seqx.interfaces.tensors import EOS

_MAX_CACHED = 400
"""The maximum number of characters of all phrases of an automaton that is cached for later sentences."""


class Surfaces:
    """The text of each symbol of a vocabulary (its surface form).

    Args:
        texts: the UTF-8 bytes of each symbol, which may be only part of a character; None for PAD, BOS, EOS
            and symbols whose text is not known
    """

    def __init__(self, texts: Sequence[bytes | None]) -> None:
        self.texts = list(texts)
        known = sorted((text, symbol) for symbol, text in enumerate(texts) if text)
        self._sorted = [text for text, _ in known]
        self._symbols = [symbol for _, symbol in known]
        self._by_text: dict[bytes, list[int]] = {}
        for text, symbol in known:
            self._by_text.setdefault(text, []).append(symbol)
        self.lengths = torch.tensor([len(text or b"") for text in texts])  # [V] bytes
        self.longest = int(self.lengths.max())
        # A NUL replaces an unknown text, because it is not a word character and occurs in no phrase.
        self._trie = SurfaceTrie(
            [
                (text if text is not None else b"\0" if symbol > EOS else b"")
                for symbol, text in enumerate(texts)
            ]
        )
        self._cached = lru_cache(maxsize=64)(self._trie.automaton)

    def __len__(self) -> int:
        return len(self.texts)

    def proper_prefixes(self, text: bytes) -> list[tuple[int, int]]:
        """Return the symbols whose text is a proper prefix of `text`, each with its number of bytes."""
        longest = min(self.longest, len(text) - 1)
        return [(symbol, n) for n in range(1, longest + 1) for symbol in self._by_text.get(text[:n], ())]

    def extensions(self, text: bytes) -> list[int]:
        """Return the symbols whose text begins with `text`."""
        i = bisect_left(self._sorted, text)
        symbols = []
        while i < len(self._sorted) and self._sorted[i].startswith(text):
            symbols.append(self._symbols[i])
            i += 1
        return symbols

    def can_fit(self, phrase: str, max_length: int) -> bool:
        """Return true if an answer of `max_length` symbols may be long enough to contain a phrase.

        `max_length` is compared with a lower bound of the number of symbols, which is computed in time linear
        in the phrase. The first symbol may begin before the phrase, and the last one may end after it.
        """
        text = phrase.encode()
        if len(text) > max_length * self.longest:
            return False
        if len(text) <= self.longest:
            return max_length > 0
        fewest = [1] * (self.longest + 1) + [UNREACHABLE] * (len(text) - self.longest)
        for start in range(1, len(text)):
            for _, n in self.proper_prefixes(text[start : start + self.longest + 1]):
                fewest[start + n] = min(fewest[start + n], fewest[start] + 1)
        return min(fewest[-1], 1 + min(fewest[-self.longest - 1 : -1])) <= max_length

    def automaton(self, require: tuple[str, ...], forbid: tuple[str, ...]) -> TokenAutomaton:
        """Return the automaton over symbols for these phrases; automata of short phrases are cached."""
        is_short = sum(map(len, (*require, *forbid))) <= _MAX_CACHED
        return (self._cached if is_short else self._trie.automaton)(require, forbid)
