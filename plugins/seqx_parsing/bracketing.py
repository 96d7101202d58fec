"""Linearisations that write brackets with typed closes, as `(NP` and `)NP`, and one symbol for each word.

Letters in shapes: B sentences, N hypotheses, V symbols, L labels, D = depth.
"""

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, ClassVar, NamedTuple, Self

import torch
from annotated_types import Gt
from torch import Tensor

import seqx
from seqx_parsing.assembly import Assembly
from seqx_parsing.linearisation import Decoded, Linearisation, spelled
from seqx_parsing.tree import UNTAGGED, Leaf, Tree
from seqx_parsing.vocabulary import UNKNOWN, Vocabulary


class Kind(IntEnum):
    """What a symbol does."""

    NOTHING = 0
    END = 1
    WORD = 2
    OPEN = 3
    CLOSE = 4


@dataclass(frozen=True, kw_only=True)
class Bracketing(Linearisation):
    """Brackets with typed closes, and one symbol for each word.

    Args:
        tags: write each word as its part of speech; if not, as XX, which parses better (about 1 F1: Vinyals
            et al. 2015, section 3)
        depth: most constituents that the grammar lets be open at once; TOP counts where it is written
    """

    first: ClassVar[int]
    """How many children come before the opening bracket."""

    adjustable: ClassVar[frozenset[str]] = frozenset({"depth"})
    """The settings that limit the grammar; their names are those of the counts in `Most`."""

    tags: bool = False
    depth: Annotated[int, Gt(0)] = 60

    def order(self, tree: Tree) -> list[Tree | Leaf | str]:
        """A constituent's brackets and children, in the order in which they are written."""
        return [
            *tree.children[: self.first],
            f"({tree.label}",
            *tree.children[self.first :],
            f"){tree.label}",
        ]

    def encode(self, tree: Tree) -> list[str]:
        """The symbols of a tree."""
        return spelled(tree, self.order, lambda leaf: leaf.tag if self.tags else UNTAGGED)

    def decode(self, symbols: Sequence[str], leaves: Sequence[Leaf]) -> Decoded:
        """A tree over exactly these leaves; `Assembly` says how what is malformed is repaired."""
        assembly = Assembly(leaves)
        for symbol in symbols:
            match self.kind(symbol):
                case Kind.WORD:
                    assembly.word(symbol if self.tags else None)
                case Kind.OPEN:
                    assembly.open(symbol[1:], self.first)
                case Kind.CLOSE:
                    assembly.close(symbol[1:])
                case _:
                    assembly.skip()
        return assembly.finish()

    def needs(self, tree: Tree) -> Mapping[str, int]:
        """Return the smallest value of each setting with which the grammar allows the symbols of a tree."""
        most = Most.of(map(self.kind, self.encode(tree)))
        return {name: getattr(most, name) for name in sorted(self.adjustable)}

    def is_word(self, symbol: str) -> bool:
        """Whether a symbol stands for a word."""
        return self.kind(symbol) == Kind.WORD

    def kind(self, symbol: str) -> Kind:
        """What a symbol does."""
        if len(symbol) > 1 and symbol[0] in "()":
            return Kind.OPEN if symbol[0] == "(" else Kind.CLOSE
        return Kind.WORD if (symbol != UNKNOWN if self.tags else symbol == UNTAGGED) else Kind.NOTHING


class Most(NamedTuple):
    """The largest counts in a tree of what the grammar limits; `Written` counts the same for hypotheses."""

    depth: int  # constituents open at once
    opens: int  # constituents opened between two words
    unaries: int  # constituents closed in a row, each right after it was opened

    @classmethod
    def of(cls, symbols: Iterable[Kind]) -> Self:
        """Count over the symbols of one tree."""
        height = opens = unaries = 0
        most, last = cls(0, 0, 0), Kind.NOTHING
        for kind in symbols:
            match kind:
                case Kind.WORD:
                    opens = unaries = 0
                case Kind.OPEN:
                    height, opens = height + 1, opens + 1
                case Kind.CLOSE:
                    height, unaries = height - 1, unaries + 1 if last == Kind.OPEN else 0
            most = cls(*map(max, most, (height, opens, unaries)))
            last = kind
        return most


class Written(NamedTuple):
    """What each hypothesis has written so far."""

    used: Tensor  # [N] words
    left: Tensor  # [N] words to come
    budget: Tensor  # [N] symbols to come at most
    stack: Tensor  # [N, D + 1] int32 labels of what is open, the outermost first; behind `height` anything
    height: Tensor  # [N] how much is open
    new: Tensor  # [N] bool: the last symbol opened
    opens: Tensor  # [N] constituents opened since the last word
    unaries: Tensor  # [N] constituents closed in a row, each right after it was opened
    begun: Tensor  # [N] bool: some constituent was opened


class Legal(NamedTuple):
    """Which kinds of symbols may come next, [N] bool each; of all closes only the innermost label's."""

    word: Tensor
    open: Tensor
    close: Tensor
    end: Tensor


class BracketGrammar(seqx.Grammar):
    """What all grammars of brackets share: what was written, and that only the innermost label closes.

    Which kinds of symbols may come next is for `legal` to say, so that every row has one, also where a search
    has written what was not allowed (beams do in hypotheses of probability 0) or has ended.

    A tree over n words takes n + 2 symbols at least. Where a limit leaves less, there is none to be had: the
    words are written first, the search cuts off what follows, and `decode` repairs it.

    Args:
        linearisation: says what the symbols mean
        vocabulary: what the model writes
        words: of each sentence [B]
    """

    def __init__(self, linearisation: Bracketing, vocabulary: Vocabulary, words: Tensor) -> None:
        self.words = words
        self.depth = linearisation.depth
        kinds = [Kind.NOTHING] * vocabulary.size
        kinds[seqx.EOS] = Kind.END
        symbols = dict(zip(vocabulary.symbols, vocabulary.ids(vocabulary.symbols), strict=True))
        closes = {s[1:]: i for s, i in symbols.items() if linearisation.kind(s) == Kind.CLOSE}
        opens = {s[1:]: i for s, i in symbols.items() if linearisation.kind(s) == Kind.OPEN}
        inside = [label for label in opens if label in closes]
        labels = [0] * vocabulary.size
        for place, label in enumerate(inside):
            kinds[opens[label]], kinds[closes[label]] = Kind.OPEN, Kind.CLOSE
            labels[opens[label]] = place
        for symbol, i in symbols.items():
            if linearisation.kind(symbol) == Kind.WORD:
                kinds[i] = Kind.WORD
        if not (inside and Kind.WORD in kinds):
            raise ValueError("no tree can be written without a symbol for words and brackets of one label")
        self.kinds = torch.tensor(kinds)  # [V]
        self.labels = torch.tensor(labels, dtype=torch.int32)  # [V] of opens
        self.closes = torch.tensor([closes[label] for label in inside])  # [L] the symbol that closes it

    @abstractmethod
    def legal(self, written: Written) -> Legal:
        """Which kinds of symbols may come next: at least one of each row."""

    def start(self, rows: int, limits: Tensor) -> Written:
        """Nothing is written."""
        device = limits.device
        self.kinds, self.labels, self.closes = (
            seqx.to_device(table, device) for table in (self.kinds, self.labels, self.closes)
        )
        none = torch.zeros(rows, dtype=torch.int64, device=device)
        return Written(
            used=none,
            left=seqx.to_device(self.words, device),
            budget=limits,
            stack=torch.zeros(rows, self.depth + 1, dtype=torch.int32, device=device),
            height=none,
            new=none.bool(),
            opens=none,
            unaries=none,
            begun=none.bool(),
        )

    def allowed(self, state: Written) -> Tensor:
        """True where a symbol may come next: [N, V] bool."""
        legal = self.legal(state)
        none = torch.zeros_like(legal.end)
        by_kind = torch.stack([none, legal.end, legal.word, legal.open, none], 1)  # [N, kinds]
        top = state.stack.gather(1, (state.height - 1).clamp_min(0)[:, None])  # [N, 1]
        return by_kind.index_select(1, self.kinds).scatter(1, self.closes[top], legal.close[:, None])

    def advance(self, state: Written, tokens: Tensor) -> Written:
        """After one more symbol of each hypothesis, [N] int64."""
        kind = self.kinds[tokens]
        word, opened, closed = kind == Kind.WORD, kind == Kind.OPEN, kind == Kind.CLOSE
        return Written(
            used=state.used + word,
            left=(state.left - word.long()).clamp_min(0),
            budget=state.budget - 1,
            # Behind the height, where it matters only to what opened.
            stack=state.stack.scatter(1, state.height[:, None], self.labels[tokens][:, None]),
            height=(state.height + opened - closed.long()).clamp(0, self.depth),
            new=opened,
            opens=(state.opens + opened).masked_fill(word, 0),
            unaries=(state.unaries + closed).masked_fill(word | (closed & ~state.new), 0),
            begun=state.begun | opened,
        )
