"""The grammar of bracketed output: a state machine on tensors.

Letters in shapes: B sentences, N hypotheses, V symbols, C counts, D = depth, I intervals of counts, M states
that `legal` distinguishes.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

import seqx
from seqx_parsing.bracketing import Bracketing, Kind
from seqx_parsing.vocabulary import Vocabulary


class BracketState(NamedTuple):
    """Counts of the symbols that each hypothesis has written, each [N]."""

    words_written: Tensor
    words_left: Tensor
    spare: Tensor  # symbols that are not needed for the remaining words and for closing the open brackets
    height: Tensor  # number of open constituents
    opens: Tensor  # constituents opened since the last word
    unaries: Tensor  # constituents closed in a row, each directly after its opening bracket
    just_opened: Tensor  # bool: the last symbol was an opening bracket
    has_brackets: Tensor  # bool: at least one constituent was opened

    @property
    def symbols_left(self) -> Tensor:
        """The number of symbols that may still be written."""
        return self.spare + self.words_left + self.height


_COUNTS = BracketState._fields
_HEIGHT, _JUST_OPENED = _COUNTS.index("height"), _COUNTS.index("just_opened")


class LegalKinds(NamedTuple):
    """The kinds of symbols that may come next, each [N] bool. Only the innermost open label can be closed."""

    word: Tensor
    open: Tensor
    close: Tensor
    end: Tensor


class _Masks(NamedTuple):
    """The symbols that are allowed next, for each state that `legal` distinguishes."""

    columns: Tensor  # [I] the index of the count of each interval
    least: Tensor  # [I] int32: the number with which the interval begins
    strides: Tensor  # [I] the rows of `symbols` between this interval and the previous one
    symbols: Tensor  # [M, V] bool, without closing brackets
    close: Tensor  # [M, 1] bool: the innermost open constituent may be closed


class BracketGrammar(seqx.Grammar):
    """Base class of the grammars for bracketed output: only the innermost open label can be closed.

    Subclasses define `legal`. It must allow at least one kind of symbol for every row, even if the row has
    ended or a search wrote a forbidden symbol (beam search does so in hypotheses of probability 0). If a
    subclass also defines `thresholds`, a table of masks replaces the calls of `legal` in each step.

    The state of a search is one tensor [N, C + D + 2] int32, so that one operation reorders it. It has the
    counts of `BracketState`, and a stack: the closing brackets of the open constituents, outermost first. The
    stack begins with PAD, which stands for no constituent. Its entries after the innermost open constituent
    are undefined.

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
        self.kinds, self.closing = _read(linearisation, vocabulary)
        self.changes = _changes(self.kinds)
        unlimited = torch.iinfo(torch.int32).max
        limits = {"words_left": (0, unlimited), "height": (0, self.depth)}
        # [C] the least and the greatest value of each count
        self.least, self.greatest = torch.tensor(
            [limits.get(name, (-unlimited, unlimited)) for name in _COUNTS], dtype=torch.int32
        ).unbind(1)
        self.masks: _Masks | None = None  # None before `start`, or without thresholds

    @abstractmethod
    def legal(self, state: BracketState) -> LegalKinds:
        """Return the kinds of symbols that may come next; at least one kind per row."""

    def thresholds(self) -> Mapping[str, Sequence[int]] | None:
        """Return the numbers with which `legal` compares each count, for example {"height": [1, 60]}.

        `legal` may depend on a count only in this way: its result is the same for all counts from one
        threshold up to the next one, exclusive. None: no such numbers are known.
        """
        return None

    def start(self, rows: int, max_lengths: Tensor) -> Tensor:
        """Return the state of `rows` empty hypotheses."""
        device = max_lengths.device
        if (thresholds := self.thresholds()) is not None:
            self.masks = _Masks(*(seqx.to_device(table, device) for table in self._tabulate(thresholds)))
        for name in ("kinds", "closing", "changes", "least", "greatest"):
            setattr(self, name, seqx.to_device(getattr(self, name), device))
        words = seqx.to_device(self.words, device)
        state = torch.zeros(rows, len(_COUNTS) + self.depth + 2, dtype=torch.int32, device=device)
        state[:, _COUNTS.index("words_left")] = words
        state[:, _COUNTS.index("spare")] = max_lengths - words
        return state

    def allowed(self, state: Tensor) -> Tensor:
        """Return the symbols that may come next, [N, V] bool."""
        if self.masks is None:
            allowed, close = self._symbols(self.legal(_counts(state)))
        else:
            reached = state.index_select(1, self.masks.columns) >= self.masks.least  # [N, I]
            row = (reached * self.masks.strides).sum(1)
            allowed = self.masks.symbols.index_select(0, row)
            close = self.masks.close.index_select(0, row)
        innermost = (state[:, _HEIGHT, None] + len(_COUNTS)).long()  # [N, 1] the column of its bracket
        return allowed.scatter_(1, state.gather(1, innermost).long(), close)

    def advance(self, state: Tensor, tokens: Tensor) -> Tensor:
        """Return the state after one more symbol per hypothesis, [N] int64."""
        row = torch.add(tokens, state[:, _JUST_OPENED], alpha=len(self.kinds))
        factor, increment = self.changes.index_select(0, row).chunk(2, 1)
        counts = state.narrow(1, 0, len(_COUNTS))
        # Each step writes an entry after the stack. It is part of the stack only if `height` rises, which is
        # the case after an opening bracket.
        end = (state[:, _HEIGHT, None] + (len(_COUNTS) + 1)).long()
        after = state.scatter(1, end, self.closing.index_select(0, tokens)[:, None])
        after.narrow(1, 0, len(_COUNTS)).copy_(
            torch.addcmul(increment, counts, factor).clamp(self.least, self.greatest)
        )
        return after

    def _symbols(self, legal: LegalKinds) -> tuple[Tensor, Tensor]:
        """Return the legal symbols without closing brackets [N, V], and if one may be closed [N, 1]."""
        never = torch.zeros_like(legal.end)
        by_kind = torch.stack([never, legal.end, legal.word, legal.open, never], 1)  # [N, kinds]
        return by_kind.index_select(1, self.kinds), legal.close[:, None]

    def _tabulate(self, thresholds: Mapping[str, Sequence[int]]) -> _Masks:
        """Call `legal` with one state for each combination of intervals between thresholds."""
        limits = {name: sorted(set(numbers)) for name, numbers in thresholds.items()}
        # one value of each interval, the last count changing fastest
        values = torch.cartesian_prod(*(torch.tensor([n[0] - 1, *n]) for n in limits.values()))
        states = torch.zeros(len(values), len(_COUNTS), dtype=torch.int32)
        states[:, [_COUNTS.index(name) for name in limits]] = values.int()
        strides, stride = [], len(values)
        for numbers in limits.values():
            stride //= len(numbers) + 1
            strides += [stride] * len(numbers)
        symbols, close = self._symbols(self.legal(_counts(states)))
        return _Masks(
            columns=torch.tensor([_COUNTS.index(name) for name, ns in limits.items() for _ in ns]),
            least=torch.tensor([n for numbers in limits.values() for n in numbers], dtype=torch.int32),
            strides=torch.tensor(strides),
            symbols=symbols,
            close=close,
        )


def _counts(state: Tensor) -> BracketState:
    """Return the counts of a state [N, C + ...]."""
    *numbers, just_opened, has_brackets = state[:, : len(_COUNTS)].unbind(1)
    return BracketState._make((*numbers, just_opened > 0, has_brackets > 0))


def _read(linearisation: Bracketing, vocabulary: Vocabulary) -> tuple[Tensor, Tensor]:
    """Return the kind of each symbol [V], and the closing bracket of each opening one [V] int32, else PAD.

    Raises:
        ValueError: no tree can be written with these symbols
    """
    kinds, closing = [Kind.NOTHING] * vocabulary.size, [seqx.PAD] * vocabulary.size
    kinds[seqx.EOS] = Kind.END
    symbols = dict(zip(vocabulary.symbols, vocabulary.ids(vocabulary.symbols), strict=True))
    for symbol, i in symbols.items():
        match linearisation.kind(symbol):
            case Kind.WORD:
                kinds[i] = Kind.WORD
            case Kind.OPEN if (close := symbols.get(f"){symbol[1:]}")) is not None:
                kinds[i], kinds[close] = Kind.OPEN, Kind.CLOSE
                closing[i] = close
    if not {Kind.WORD, Kind.OPEN} <= {*kinds}:
        raise ValueError(
            "the vocabulary needs a symbol for words, and the opening and the closing bracket of a label"
        )
    return torch.tensor(kinds), torch.tensor(closing, dtype=torch.int32)


def _changes(kinds: Tensor) -> Tensor:
    """Return the factor and the increment of each count, by symbol: [2 V, 2 C] int32.

    The second half is for symbols directly after an opening bracket.
    """
    word, opened, closed = ((kinds == kind).int() for kind in (Kind.WORD, Kind.OPEN, Kind.CLOSE))
    one, none = torch.ones_like(word), torch.zeros_like(word)

    def table(after_opening: bool) -> Tensor:
        unary = closed if after_opening else none
        factors = {
            "opens": one - word,
            "unaries": one - word - closed + unary,
            "just_opened": none,
            "has_brackets": one - opened,
        }
        increments = {
            "words_written": word,
            "words_left": -word,
            "spare": word + closed - opened - one,
            "height": opened - closed,
            "opens": opened,
            "unaries": unary,
            "just_opened": opened,
            "has_brackets": opened,
        }
        columns = [factors.get(name, one) for name in _COUNTS] + [increments[name] for name in _COUNTS]
        return torch.stack(columns, 1)

    return torch.cat([table(after_opening=False), table(after_opening=True)])
