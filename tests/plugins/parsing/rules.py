"""A second implementation of the grammars for one hypothesis without a length limit: slow, but simple.

With a length limit, a symbol is legal if the shortest completion after it still fits.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from typing import Self

LABELS = ("NP", "S")
DEPTH, OPENS, UNARIES = 3, 3, 2
END = "</s>"


@dataclass(frozen=True)
class Rules(ABC):
    """The symbols written so far for a tree over `words` words."""

    words: int
    words_written: int = 0
    stack: tuple[str, ...] = ()
    last: str = ""
    count: int = 0  # top-down: brackets opened since the last word; in-order: unary closings in a row

    @abstractmethod
    def legal(self, symbol: str) -> bool:
        """Return true if a symbol may come next."""

    @abstractmethod
    def next_count(self, symbol: str) -> int:
        """Return the value of `count` after a symbol."""

    def after(self, symbol: str) -> Self:
        stack = self.stack
        if symbol[0] == "(":
            stack = (*stack, symbol[1:])
        if symbol[0] == ")":
            stack = stack[:-1]
        words_written = self.words_written + (symbol == "XX")
        return replace(
            self, words_written=words_written, stack=stack, last=symbol, count=self.next_count(symbol)
        )

    def choices(self) -> list[str]:
        brackets = [bracket + label for bracket in "()" for label in LABELS]
        return [symbol for symbol in ("XX", *brackets, END) if self.legal(symbol)]


@dataclass(frozen=True)
class TopDownRules(Rules):
    def legal(self, symbol: str) -> bool:
        words_remain = self.words_written < self.words
        if symbol == END:
            return not words_remain and not self.stack
        if symbol == "XX":
            return words_remain and bool(self.stack)
        if symbol[0] == "(":
            return (
                words_remain
                and self.count < OPENS
                and len(self.stack) < DEPTH
                and (bool(self.stack) or not self.last)
            )
        has_content = self.last[0] != "(" if self.last else False
        return self.stack[-1:] == (symbol[1:],) and has_content and (len(self.stack) > 1 or not words_remain)

    def next_count(self, symbol: str) -> int:
        return self.count + 1 if symbol[0] == "(" else 0 if symbol == "XX" else self.count


@dataclass(frozen=True)
class InOrderRules(Rules):
    def legal(self, symbol: str) -> bool:
        words_remain, opened = self.words_written < self.words, self.last[:1] == "("
        finished = bool(self.last) and not opened
        if symbol == END:
            return (
                not words_remain and not self.stack and (self.words == 0 or (finished and self.last != "XX"))
            )
        if symbol == "XX":
            return words_remain and (self.words_written == 0 or bool(self.stack))
        if symbol[0] == "(":
            return finished and (words_remain or self.count < UNARIES) and len(self.stack) < DEPTH
        return self.stack[-1:] == (symbol[1:],) and (not opened or self.count < UNARIES)

    def next_count(self, symbol: str) -> int:
        if symbol[0] == ")":
            return self.count + 1 if self.last[0] == "(" else 0
        return 0 if symbol == "XX" else self.count


@cache
def shortest(state: Rules) -> float:
    """Return the smallest number of symbols, without END, that complete the tree."""
    if state.legal(END):
        return 0
    return min((1 + shortest(state.after(symbol)) for symbol in state.choices()), default=float("inf"))


def allowed_symbols(state: Rules, symbols_left: int) -> Iterable[str]:
    """Yield the legal symbols if at most `symbols_left` more symbols, without END, may be written."""
    for symbol in state.choices():
        if symbol == END or 1 + shortest(state.after(symbol)) <= symbols_left:
            yield symbol
