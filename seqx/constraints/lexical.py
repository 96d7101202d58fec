"""The grammar of answers with a prefix, required phrases and forbidden phrases (constrained decoding).

Hokamp and Liu 2017 (grid beam search) and Post and Vilar 2018 (dynamic beam allocation) constrain the
subwords of an answer. This grammar constrains its text, so that a phrase may be segmented in any way. An
automaton finds the phrases (see `byte_automaton`). Each node has a distance to the end: the smallest number
of symbols after which EOS is allowed. A symbol is allowed if the distance after it still fits into the
maximum length. Therefore every answer satisfies its constraint. If the maximum length is too small for any
such answer, no symbol is allowed.

Within the prefix, a table lists the symbols that are allowed at each byte position: those that write the next
bytes of the prefix, and those that write the rest of the prefix and possibly more.

Letters in shapes: B sentences, N hypotheses, V symbols, A nodes of all automata, C classes of symbols, M sets
of required phrases, P byte positions of all prefixes, E entries of the table of prefix symbols.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from seqx.constraints.byte_automaton import DEAD, START
from seqx.constraints.surfaces import Surfaces
from seqx.constraints.token_automaton import UNREACHABLE, TokenAutomaton
from seqx.errors import UserError
from seqx.interfaces.learning import Grammar
from seqx.interfaces.tensors import EOS
from seqx.runtime.devices import to_device

MAX_PHRASES = 8
"""The maximum number of required phrases of an answer. Each phrase doubles the size of the tables."""

MAX_BYTES = 4096
"""The maximum bytes of all phrases of an answer. Forbidden phrases that fit into no answer do not count."""


class LexicalState(NamedTuple):
    """The state of each hypothesis."""

    position: Tensor  # [N] the byte position in the table of prefixes
    prefix_end: Tensor  # [N] the byte position at which the prefix of the sentence ends
    node: Tensor  # [N] the node of the sentence's automaton
    matched: Tensor  # [N] one bit for each required phrase that has occurred
    symbols_left: Tensor  # [N] the maximum number of further symbols, EOS excluded


@dataclass(frozen=True, kw_only=True)
class LexicalConstraint:
    """The constraint on one answer.

    Args:
        prefix: the bytes that the answer begins with
        require: phrases that must occur
        forbid: phrases that must not occur
    """

    prefix: bytes = b""
    require: tuple[str, ...] = ()
    forbid: tuple[str, ...] = ()


class _PrefixSymbols(NamedTuple):
    """The symbols that are allowed at each byte position of a prefix."""

    symbols: list[list[int]]
    distances: list[list[int]]  # for each symbol, the fewest symbols after it until EOS is allowed
    remaining: list[list[int]]  # for each symbol, the fewest symbols that required phrases still need


class LexicalGrammar(Grammar):
    """A grammar of answers that begin with a prefix, contain all required phrases and no forbidden phrase.

    The prefix may be segmented in any way. It may end within a symbol, so that an answer can continue its
    last word.

    Args:
        surfaces: the text of each symbol
        constraints: the constraint of each sentence [B]

    Raises:
        UserError: an answer has too many required phrases
    """

    def __init__(self, surfaces: Surfaces, constraints: Sequence[LexicalConstraint]) -> None:
        if (count := max(len(constraint.require) for constraint in constraints)) > MAX_PHRASES:
            raise UserError(f"an answer has {count} required phrases; the maximum is {MAX_PHRASES}")
        self.surfaces = surfaces
        self.constraints = constraints
        # True for each sentence for which no answer is possible; None before `prepare`.
        self._impossible: Sequence[bool] | None = None

    def prepare(self, max_lengths: Sequence[int]) -> None:
        """Build the tables for answers of at most `max_lengths` symbols."""
        constraints = [
            self._drop_long_phrases(*pair) for pair in zip(self.constraints, max_lengths, strict=True)
        ]
        self._build_tables([constraint or LexicalConstraint() for constraint in constraints])
        self._impossible = [constraint is None for constraint in constraints]

    def start(self, rows: int, max_lengths: Tensor) -> LexicalState:
        """Return the state before the first symbol."""
        if self._impossible is None:
            self.prepare(max_lengths.tolist())
        for name, table in vars(self).items():
            if isinstance(table, Tensor):
                setattr(self, name, to_device(table, max_lengths.device))
        impossible = to_device(torch.tensor(self._impossible), max_lengths.device)
        self._impossible = None
        node = torch.where(impossible, self.first_node + (DEAD - START), self.first_node)
        return LexicalState(self.prefix_begin, self.prefix_end, node, torch.zeros_like(node), max_lengths)

    def _drop_long_phrases(self, constraint: LexicalConstraint, max_length: int) -> LexicalConstraint | None:
        """Remove the forbidden phrases that are too long for any answer, to bound the size of the tables.

        Return None if the prefix or a required phrase is too long for any answer.

        Raises:
            UserError: the other phrases have more than `MAX_BYTES`
        """
        if len(constraint.prefix) > max_length * self.surfaces.longest:
            return None
        if not all(self.surfaces.can_fit(phrase, max_length) for phrase in constraint.require):
            return None
        forbid = tuple(phrase for phrase in constraint.forbid if self.surfaces.can_fit(phrase, max_length))
        size = sum(len(phrase.encode()) for phrase in (*constraint.require, *forbid))
        if size > MAX_BYTES:
            raise UserError(
                f"the required and forbidden phrases of an answer have {size:,} bytes in total; "
                f"the maximum is {MAX_BYTES:,}; use fewer or shorter phrases"
            )
        return replace(constraint, forbid=forbid)

    def _build_tables(self, constraints: Sequence[LexicalConstraint]) -> None:
        """Concatenate the automata of all phrase sets, and list the symbols of all prefixes."""
        self.symbol_bytes = self.surfaces.lengths  # [V]
        phrase_sets = list(dict.fromkeys((item.require, item.forbid) for item in constraints))
        automata = [self.surfaces.automaton(*phrases) for phrases in phrase_sets]
        offsets = [0]
        for automaton in automata:
            offsets.append(offsets[-1] + len(automaton.next_node))
        self.any_required = any(require for require, _ in phrase_sets)
        self.requires = torch.tensor([bool(require) for require, _ in phrase_sets])  # [automata]
        self.classes = torch.stack([automaton.classes for automaton in automata])  # [automata, V]
        self.automaton_of = torch.cat(
            [torch.full((len(automaton.next_node),), i) for i, automaton in enumerate(automata)]
        )  # [A]
        shifted = [automaton.next_node + offset for automaton, offset in zip(automata, offsets, strict=False)]
        self.next_node = _concatenate(shifted, 0)  # [A, C]
        self.matches = _concatenate([automaton.matches for automaton in automata], 0)  # [A, C]
        self.distance = _concatenate([automaton.distance for automaton in automata], UNREACHABLE)  # [A, M]
        indices = [phrase_sets.index((item.require, item.forbid)) for item in constraints]
        self.first_node = torch.tensor([offsets[i] + START for i in indices])  # [B]
        self._list_prefix_symbols(
            [
                _prefix_symbols(self.surfaces, automata[i], constraint.prefix)
                for i, constraint in zip(indices, constraints, strict=True)
            ]
        )

    def _list_prefix_symbols(self, prefixes: Sequence[_PrefixSymbols]) -> None:
        """Store the symbols of all prefixes in one table, and the first entry of each position."""
        lengths = torch.tensor([len(prefix.symbols) + 1 for prefix in prefixes])
        self.prefix_end = lengths.cumsum(0) - 1  # [B]
        self.prefix_begin = self.prefix_end - lengths + 1  # [B]
        by_position = [symbols for prefix in prefixes for symbols in (*prefix.symbols, [])]
        self.entry_begin = torch.tensor([0, *map(len, by_position)]).cumsum(0)  # [P + 1]
        self.max_entries = max(map(len, by_position))  # the most entries of a position
        self.entry_symbol, self.entry_distance, self.entry_remaining = (
            torch.tensor(
                [value for prefix in prefixes for values in prefix[column] for value in values], dtype=dtype
            )
            for column, dtype in enumerate((torch.int64, torch.int16, torch.int16))
        )  # [E]

    def allowed(self, state: LexicalState) -> Tensor:
        """Return true for each symbol that is allowed next: [N, V] bool."""
        left = state.symbols_left.clamp(max=UNREACHABLE)
        allowed = self._distance_after(state) < left[:, None]
        allowed[:, EOS] = self.distance[state.node, state.matched] == 0
        allowed[:, :EOS] = False
        allowed &= (state.position == state.prefix_end)[:, None]
        hypothesis, entry, used = self._prefix_entries(state)
        # Unused entries stand for PAD, which is never allowed.
        symbols = self.entry_symbol[entry] * used
        allowed[hypothesis, symbols] = (self.entry_distance[entry] < left[hypothesis]) & used
        return allowed

    def advance(self, state: LexicalState, tokens: Tensor) -> LexicalState:
        """Return the state after one more symbol of each hypothesis, [N] int64."""
        classes = self.classes[self.automaton_of[state.node], tokens]
        return LexicalState(
            position=(state.position + self.symbol_bytes[tokens]).minimum(state.prefix_end),
            prefix_end=state.prefix_end,
            node=self.next_node[state.node, classes],
            matched=state.matched | self.matches[state.node, classes],
            symbols_left=state.symbols_left - 1,
        )

    def remaining(self, state: LexicalState) -> Tensor | None:
        """Return the fewest symbols that required phrases still need after each symbol: [N, V] int16."""
        if not self.any_required:
            return None
        remaining = self._distance_after(state)
        hypothesis, entry, used = self._prefix_entries(state)
        remaining[hypothesis, self.entry_symbol[entry] * used] = self.entry_remaining[entry] * used
        # A forbidden phrase can make a distance positive, too. Count only answers with required phrases.
        return remaining * self.requires[self.automaton_of[state.node]][:, None]

    def _distance_after(self, state: LexicalState) -> Tensor:
        """Return the distance to the end after each symbol, regardless of the prefix: [N, V]."""
        after = self.next_node[state.node]  # [N, C]
        matched = state.matched[:, None] | self.matches[state.node]
        return self.distance[after, matched].gather(1, self.classes[self.automaton_of[state.node]])

    def _prefix_entries(self, state: LexicalState) -> tuple[Tensor, Tensor, Tensor]:
        """List the table entries of all hypotheses that are still within their prefixes.

        Return three vectors with one item for each listed entry: the hypothesis, the index of the entry in
        the table, and true if the item is used. On a GPU the list has `max_entries` items for each
        hypothesis, because the host would have to wait for the exact number. The surplus items are unused.
        """
        begin = self.entry_begin[state.position]  # [N]
        counts = self.entry_begin[state.position + 1] - begin
        hypotheses = torch.arange(len(counts), device=counts.device)
        if counts.is_cuda:
            hypothesis = hypotheses.repeat_interleave(self.max_entries)
            offset = torch.arange(self.max_entries, device=counts.device).repeat(len(counts))
        else:
            hypothesis = hypotheses.repeat_interleave(counts)
            first = counts.cumsum(0) - counts
            offset = torch.arange(len(hypothesis)) - first[hypothesis]
        used = offset < counts[hypothesis]
        return hypothesis, (begin[hypothesis] + offset) * used, used


def _prefix_symbols(surfaces: Surfaces, automaton: TokenAutomaton, prefix: bytes) -> _PrefixSymbols:
    """Find the symbols that are allowed at each position of a prefix, from its end to its beginning."""
    nodes, matched = [START], [0]  # the state of the automaton at each position
    for byte in prefix:
        matched.append(matched[-1] | int(automaton.by_byte.matches[nodes[-1], byte]))
        nodes.append(int(automaton.by_byte.next_node[nodes[-1], byte]))
    length = len(prefix)
    remaining = int(automaton.distance[nodes[length], matched[length]])
    shortest = [UNREACHABLE] * length + [remaining]  # the distance to the end from each position
    empty: list[list[int]] = [[] for _ in range(length)]
    table = _PrefixSymbols(empty, list(empty), list(empty))
    for position in range(length - 1, -1, -1):
        rest = prefix[position : position + surfaces.longest + 1]
        inner = [(symbol, shortest[position + n]) for symbol, n in surfaces.proper_prefixes(rest)]
        outer = surfaces.extensions(rest)
        classes = automaton.classes[outer]
        node = automaton.next_node[nodes[position], classes]
        matches = automaton.matches[nodes[position], classes] | matched[position]
        distances = automaton.distance[node, matches].tolist() if outer else []
        table.symbols[position] = [symbol for symbol, _ in inner] + outer
        table.distances[position] = [distance for _, distance in inner] + distances
        table.remaining[position] = [remaining] * len(inner) + distances
        shortest[position] = min(UNREACHABLE, 1 + min(table.distances[position], default=UNREACHABLE))
    return table


def _concatenate(tables: Sequence[Tensor], fill: int) -> Tensor:
    """Concatenate tables along the rows, and fill narrower ones on the right."""
    width = max(table.size(1) for table in tables)
    return torch.cat(
        [torch.nn.functional.pad(table, (0, width - table.size(1)), value=fill) for table in tables]
    )
