"""Tokenizers whose vocabulary is a list of words or characters."""

import json
import random
import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from pathlib import Path
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt, MinLen
from pydantic import FailFast, TypeAdapter

import seqx

_FIRST = seqx.UNK + 1  # the id of the first symbol
_FILE = "symbols.json"
_MAX_BYTES = 1 << 28
_SYMBOLS = TypeAdapter(Annotated[list[str], MinLen(1), FailFast()])
_UNKNOWN = "\N{REPLACEMENT CHARACTER}"


class SymbolList(seqx.Tokenizer):
    """A tokenizer with the most frequent symbols of the training text; all others are encoded as UNK.

    Args:
        size: largest size of a learned vocabulary, including the four special symbols; an extension may add
            as many symbols again
        min_count: smallest number of occurrences of a symbol of the vocabulary
    """

    separator: ClassVar[str]
    """The text between two symbols."""

    def __init__(
        self, *, size: Annotated[int, Gt(_FIRST)] = 32_000, min_count: Annotated[int, Ge(1)] = 1
    ) -> None:
        self._max_size = size
        self._min_count = min_count
        self._symbols: list[str] = []
        self._ids: dict[str, int] = {}

    @abstractmethod
    def split(self, text: str) -> Sequence[str]:
        """Return the symbols of a text."""

    @property
    def size(self) -> int:
        """The number of symbols, including the special ones."""
        return _FIRST + len(self._symbols) if self._symbols else self._max_size

    def learn(self, lines: Iterable[str], folder: Path) -> None:
        """Count the symbols of the lines, and write the most frequent ones into `folder`."""
        frequent = self._frequent(lines)
        if not frequent:
            raise seqx.UserError(
                f"{type(self).__name__.lower()}: no symbol of the training text occurs {self._min_count} "
                "times; set a smaller min_count, or add text"
            )
        self._write(frequent, folder)

    def extend(self, lines: Iterable[str], old: Path, folder: Path) -> None:
        """Add the most frequent symbols that the list in `old` lacks, at most as many as `learn` finds."""
        self.load(old)
        self._write([*self._symbols, *self._frequent(lines, self._ids)], folder)

    def _frequent(self, lines: Iterable[str], known: Container[str] = ()) -> list[str]:
        """Return the most frequent symbols of the lines that are not known."""
        counts = Counter(symbol for line in lines for symbol in self.split(line))
        ordered = sorted(counts, key=lambda symbol: (-counts[symbol], symbol))
        frequent = [symbol for symbol in ordered if counts[symbol] >= self._min_count and symbol not in known]
        return frequent[: self._max_size - _FIRST]

    def _write(self, symbols: Sequence[str], folder: Path) -> None:
        """Write the symbols, and load them."""
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(symbols, ensure_ascii=False, indent=0)
        (folder / _FILE).write_text(f"{text}\n", "utf-8")
        self.load(folder)

    def load(self, folder: Path) -> None:
        """Load the symbols from `folder`."""
        self._symbols = seqx.read_json_as(_SYMBOLS, folder / _FILE, _MAX_BYTES)
        self._ids = {symbol: i for i, symbol in enumerate(self._symbols, _FIRST)}

    def encode(self, text: str, rng: random.Random | None = None) -> list[int]:
        """Return the id of each symbol; there is only one segmentation."""
        return [self._ids.get(symbol, seqx.UNK) for symbol in self.split(text)]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the symbols of ids; an unknown symbol becomes U+FFFD."""
        return self.separator.join(self.symbols([i for i in ids if i >= seqx.UNK]))

    def symbols(self, ids: Sequence[int]) -> list[str]:
        """Return the symbol of each id."""
        return [self._symbols[i - _FIRST] if i >= _FIRST else _UNKNOWN for i in ids]

    def surfaces(self) -> Sequence[bytes | None]:
        """Return the bytes of each symbol, with the separator before it."""
        return [None] * _FIRST + [f"{self.separator}{symbol}".encode() for symbol in self._symbols]


class Words(SymbolList):
    """The tokens of text that is already segmented: separated by spaces, such as words or subwords.

    Outputs are segmented in the same way. White space of any length separates two tokens.
    """

    separator = " "

    def split(self, text: str) -> Sequence[str]:
        """Return the tokens of a text."""
        return text.split()


class Characters(SymbolList):
    """The characters of a text, spaces included; a combining character stays with the one before it."""

    separator = ""

    def split(self, text: str) -> Sequence[str]:
        """Return the characters of a text."""
        return _CHARACTER.findall(text)


_CHARACTER = re.compile(r"(?s).[\u0300-\u036f\u200d\ufe00-\ufe0f]*")
