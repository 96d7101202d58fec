"""The symbols that a parser writes, and their ids."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import seqx

UNKNOWN = "<unk>"
_FIRST = seqx.UNK + 1
_LABEL = re.compile(r"[^() ]{1,100}")
_SHOWN = 20  # characters of what is none


def label(text: str) -> str:
    """A label or a tag, as it can stand in a tree.

    Raises:
        ValueError: it cannot
    """
    if not (_LABEL.fullmatch(text) and text.isprintable()):
        raise ValueError(
            f"{text[:_SHOWN]!r} is no label, which has 1 to 100 printable characters, no space and no bracket"
        )
    return text


def symbol(text: str) -> str:
    """A symbol of a linearisation: a label, behind a bracket or not.

    Raises:
        ValueError: it is none
    """
    label(text[1:] if text.startswith(("(", ")")) else text)
    return text


@dataclass(frozen=True)
class Vocabulary:
    """Symbols and their ids: PAD, BOS, EOS and UNK are 0 to 3, the symbols follow in their order."""

    symbols: tuple[str, ...]

    @classmethod
    def of(cls, sequences: Iterable[Iterable[str]]) -> Self:
        """All symbols that occur in linearised trees, sorted."""
        return cls(tuple(sorted({symbol for sequence in sequences for symbol in sequence})))

    @property
    def size(self) -> int:
        """The number of ids."""
        return _FIRST + len(self.symbols)

    def ids(self, symbols: Iterable[str]) -> list[int]:
        """The ids of symbols, UNK for those that are unknown."""
        return [self._ids.get(symbol, seqx.UNK) for symbol in symbols]

    def read(self, ids: Sequence[int]) -> list[str]:
        """The symbols of ids, `<unk>` for UNK; PAD, BOS and EOS say nothing."""
        return [
            UNKNOWN if i == seqx.UNK else self.symbols[i - _FIRST]
            for i in ids
            if i not in {seqx.PAD, seqx.BOS, seqx.EOS}
        ]

    @cached_property
    def surfaces(self) -> seqx.Surfaces:
        """The symbols as text, a space before each."""
        return seqx.Surfaces([*[None] * _FIRST, *(f" {symbol}".encode() for symbol in self.symbols)])

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {symbol: i for i, symbol in enumerate(self.symbols, _FIRST)}
