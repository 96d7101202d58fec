"""The target vocabulary of a parser: symbols and their ids."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import seqx
from seqx_parsing.tree import Tree

UNKNOWN = "<unk>"
_FIRST = seqx.UNK + 1
_LABEL = re.compile(r"[^() ]{1,100}")
_SHOWN = 20  # characters of an invalid label in a message


def label(text: str) -> str:
    """Return a label or tag unchanged if it is valid; otherwise raise an error.

    Raises:
        ValueError: it is empty, too long, not printable, or contains a space or bracket
    """
    if not (_LABEL.fullmatch(text) and text.isprintable()):
        raise ValueError(
            f"{text[:_SHOWN]!r} is not a valid label: use 1 to 100 printable characters, no space, no bracket"
        )
    return text


def symbol(text: str) -> str:
    """Return a symbol unchanged if it is valid: a label, optionally after a bracket.

    Raises:
        ValueError: the label is not valid
    """
    label(text[1:] if text.startswith(("(", ")")) else text)
    return text


class TreebankSymbols:
    """Collects the symbols and the tags of a treebank's trees, up to the first invalid one.

    Args:
        encode: returns the symbols of a linearised tree
    """

    def __init__(self, encode: Callable[[Tree], Iterable[str]]) -> None:
        self.symbols: set[str] = set()
        self.tags: set[str] = set()
        self.invalid: tuple[int, str] | None = None
        """The row of the first tree with an invalid symbol or tag, counted from 0, and what is wrong."""
        self._encode = encode

    def add(self, row: int, tree: Tree) -> None:
        """Add the symbols and tags of the tree in a row."""
        if self.invalid is not None:
            return
        try:
            self.symbols.update(map(symbol, set(self._encode(tree)) - self.symbols))
            self.tags.update(map(label, {leaf.tag for leaf in tree.leaves()} - self.tags))
        except ValueError as error:
            self.invalid = row, str(error)


@dataclass(frozen=True)
class Vocabulary:
    """Symbols and their ids: PAD, BOS, EOS and UNK have the ids 0 to 3, and the symbols follow in order."""

    symbols: tuple[str, ...]

    @classmethod
    def of(cls, sequences: Iterable[Iterable[str]]) -> Self:
        """Build the vocabulary of all symbols in linearised trees, sorted."""
        return cls(tuple(sorted({symbol for sequence in sequences for symbol in sequence})))

    @property
    def size(self) -> int:
        """The number of ids."""
        return _FIRST + len(self.symbols)

    def ids(self, symbols: Iterable[str]) -> list[int]:
        """Return the ids of symbols, UNK for unknown ones."""
        return [self._ids.get(symbol, seqx.UNK) for symbol in symbols]

    def symbols_of(self, ids: Sequence[int]) -> list[str]:
        """Return the symbols of ids, `<unk>` for UNK; PAD, BOS and EOS are skipped."""
        return [
            UNKNOWN if i == seqx.UNK else self.symbols[i - _FIRST]
            for i in ids
            if i not in {seqx.PAD, seqx.BOS, seqx.EOS}
        ]

    @cached_property
    def surfaces(self) -> seqx.Surfaces:
        """The symbols as text, each after a space, for constraints on prefixes and phrases."""
        return seqx.Surfaces([*[None] * _FIRST, *(f" {symbol}".encode() for symbol in self.symbols)])

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {symbol: i for i, symbol in enumerate(self.symbols, _FIRST)}
