"""Linearisations with typed brackets, such as `(NP` and `)NP`, and one symbol per word.

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
from seqx_parsing.linearisation import Decoded, Linearisation, linearise
from seqx_parsing.tree import UNTAGGED, Leaf, Tree
from seqx_parsing.vocabulary import UNKNOWN, Vocabulary


class Kind(IntEnum):
    """The kinds of symbols."""

    NOTHING = 0  # no meaning, such as <unk>
    END = 1  # EOS
    WORD = 2
    OPEN = 3  # an opening bracket with a label
    CLOSE = 4  # a closing bracket with a label


@dataclass(frozen=True, kw_only=True)
class Bracketing(Linearisation):
    """Linearisation with typed brackets and one symbol per word.

    Args:
        tags: write the part of speech of each word; if false, every word is written as XX, which gives an F1
            that is about 1 point higher (Vinyals et al. 2015, section 3)
        depth: maximum number of open constituents that the grammar allows; TOP counts if it is written
    """

    first: ClassVar[int]
    """The number of children that are written before the opening bracket."""

    adjustable: ClassVar[frozenset[str]] = frozenset({"depth"})
    """The settings that limit the grammar. Each has the name of a field of `MaxCounts`."""

    tags: bool = False
    depth: Annotated[int, Gt(0)] = 60

    def order(self, tree: Tree) -> list[Tree | Leaf | str]:
        """Return a constituent's brackets and children in the order in which they are written."""
        return [
            *tree.children[: self.first],
            f"({tree.label}",
            *tree.children[self.first :],
            f"){tree.label}",
        ]

    def encode(self, tree: Tree) -> list[str]:
        """Return the symbols of a tree."""
        return linearise(tree, self.order, lambda leaf: leaf.tag if self.tags else UNTAGGED)

    def decode(self, symbols: Sequence[str], leaves: Sequence[Leaf]) -> Decoded:
        """Return a tree over exactly these leaves; `Assembly` documents the repairs of malformed symbols."""
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
        """Return the smallest value of each limit of the grammar that allows this tree."""
        counts = MaxCounts.of(map(self.kind, self.encode(tree)))
        return {name: getattr(counts, name) for name in sorted(self.adjustable)}

    def is_word(self, symbol: str) -> bool:
        """Return true if a symbol stands for a word."""
        return self.kind(symbol) == Kind.WORD

    def kind(self, symbol: str) -> Kind:
        """Return the kind of a symbol."""
        if len(symbol) > 1 and symbol[0] in "()":
            return Kind.OPEN if symbol[0] == "(" else Kind.CLOSE
        return Kind.WORD if (symbol != UNKNOWN if self.tags else symbol == UNTAGGED) else Kind.NOTHING


class MaxCounts(NamedTuple):
    """The counts that a grammar limits. Each is the maximum over all prefixes of a tree's symbols."""

    depth: int  # open constituents
    opens: int  # constituents opened between two words
    unaries: int  # constituents closed in a row, each directly after its opening bracket

    @classmethod
    def of(cls, symbols: Iterable[Kind]) -> Self:
        """Return the counts of one tree, from the kinds of its symbols."""
        height = opens = unaries = 0
        largest, previous = cls(0, 0, 0), Kind.NOTHING
        for kind in symbols:
            match kind:
                case Kind.WORD:
                    opens = unaries = 0
                case Kind.OPEN:
                    height, opens = height + 1, opens + 1
                case Kind.CLOSE:
                    height, unaries = height - 1, unaries + 1 if previous == Kind.OPEN else 0
            largest = cls(*map(max, largest, (height, opens, unaries)))
            previous = kind
        return largest


class BracketState(NamedTuple):
    """The grammar's state: counts of the symbols that each hypothesis has written, each [N]."""

    words_written: Tensor
    words_left: Tensor
    symbols_left: Tensor  # number of symbols that may still be written
    stack: Tensor  # [N, depth + 1] int32 labels of the open constituents, outermost first; see `height`
    height: Tensor  # number of open constituents; entries of `stack` from here on are undefined
    just_opened: Tensor  # bool: the last symbol was an opening bracket
    opens: Tensor  # constituents opened since the last word
    unaries: Tensor  # constituents closed in a row, each directly after its opening bracket
    has_brackets: Tensor  # bool: at least one constituent was opened


class LegalKinds(NamedTuple):
    """The kinds of symbols that may come next, each [N] bool. Only the innermost open label can be closed."""

    word: Tensor
    open: Tensor
    close: Tensor
    end: Tensor


class BracketGrammar(seqx.Grammar):
    """Base class of the grammars for bracketed output: only the innermost open label can be closed.

    Subclasses define `legal`. It must allow at least one kind of symbol for every row, even if the row has
    ended or a search wrote a forbidden symbol (beam search does so in hypotheses of probability 0).

    A tree over n words needs at least n + 2 symbols. If a length limit leaves fewer, no complete tree exists:
    the words are written first, the search stops at the limit, and `decode` repairs the output.

    Args:
        linearisation: defines the meaning of the symbols
        vocabulary: the target vocabulary
        words: number of words of each sentence, [B]
    """

    def __init__(self, linearisation: Bracketing, vocabulary: Vocabulary, words: Tensor) -> None:
        self.words = words
        self.depth = linearisation.depth
        kinds = [Kind.NOTHING] * vocabulary.size
        kinds[seqx.EOS] = Kind.END
        symbols = dict(zip(vocabulary.symbols, vocabulary.ids(vocabulary.symbols), strict=True))
        closes = {s[1:]: i for s, i in symbols.items() if linearisation.kind(s) == Kind.CLOSE}
        opens = {s[1:]: i for s, i in symbols.items() if linearisation.kind(s) == Kind.OPEN}
        paired = [label for label in opens if label in closes]
        labels = [0] * vocabulary.size
        for index, label in enumerate(paired):
            kinds[opens[label]], kinds[closes[label]] = Kind.OPEN, Kind.CLOSE
            labels[opens[label]] = index
        for symbol, i in symbols.items():
            if linearisation.kind(symbol) == Kind.WORD:
                kinds[i] = Kind.WORD
        if not (paired and Kind.WORD in kinds):
            raise ValueError(
                "the vocabulary needs a symbol for words, and the opening and the closing bracket of a label"
            )
        self.kinds = torch.tensor(kinds)  # [V]
        self.labels = torch.tensor(labels, dtype=torch.int32)  # [V] index of each opening bracket's label
        # [L] the closing bracket of each label
        self.closes = torch.tensor([closes[label] for label in paired])

    @abstractmethod
    def legal(self, state: BracketState) -> LegalKinds:
        """Return the kinds of symbols that may come next; at least one kind per row."""

    def start(self, rows: int, max_lengths: Tensor) -> BracketState:
        """Return the state of `rows` empty hypotheses."""
        device = max_lengths.device
        self.kinds, self.labels, self.closes = (
            seqx.to_device(table, device) for table in (self.kinds, self.labels, self.closes)
        )
        zeros = torch.zeros(rows, dtype=torch.int64, device=device)
        return BracketState(
            words_written=zeros,
            words_left=seqx.to_device(self.words, device),
            symbols_left=max_lengths,
            stack=torch.zeros(rows, self.depth + 1, dtype=torch.int32, device=device),
            height=zeros,
            just_opened=zeros.bool(),
            opens=zeros,
            unaries=zeros,
            has_brackets=zeros.bool(),
        )

    def allowed(self, state: BracketState) -> Tensor:
        """Return the symbols that may come next, [N, V] bool."""
        legal = self.legal(state)
        never = torch.zeros_like(legal.end)
        by_kind = torch.stack([never, legal.end, legal.word, legal.open, never], 1)  # [N, kinds]
        top = state.stack.gather(1, (state.height - 1).clamp_min(0)[:, None])  # [N, 1]
        return by_kind.index_select(1, self.kinds).scatter(1, self.closes[top], legal.close[:, None])

    def advance(self, state: BracketState, tokens: Tensor) -> BracketState:
        """Return the state after one more symbol per hypothesis, [N] int64."""
        kind = self.kinds[tokens]
        word, opened, closed = kind == Kind.WORD, kind == Kind.OPEN, kind == Kind.CLOSE
        return BracketState(
            words_written=state.words_written + word,
            words_left=(state.words_left - word.long()).clamp_min(0),
            symbols_left=state.symbols_left - 1,
            # Every symbol writes a label above the stack; only an opening bracket raises `height` to keep it.
            stack=state.stack.scatter(1, state.height[:, None], self.labels[tokens][:, None]),
            height=(state.height + opened - closed.long()).clamp(0, self.depth),
            just_opened=opened,
            opens=(state.opens + opened).masked_fill(word, 0),
            unaries=(state.unaries + closed).masked_fill(word | (closed & ~state.just_opened), 0),
            has_brackets=state.has_brackets | opened,
        )
