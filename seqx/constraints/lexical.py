"""The grammar of answers that begin in a given way, have some phrases and do not have others.

Letters in shapes: B sentences, N hypotheses, V symbols, A nodes of all automata, C classes of symbols, M sets
of phrases, P places in all prefixes, E ways on from them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from seqx.constraints.automaton import DEAD, START
from seqx.constraints.surfaces import NEVER, Lifted, Surfaces
from seqx.errors import UserError
from seqx.interfaces.learning import Grammar
from seqx.interfaces.values import EOS
from seqx.runtime.devices import to_device

MOST = 8
"""Phrases that may be required of one answer: the tables double with each."""


MOST_BYTES = 4096
"""The most bytes of all phrases of one answer; a phrase that is too long for any answer does not count."""


class Written(NamedTuple):
    """What each hypothesis has written so far."""

    place: Tensor  # [N] in its sentence's prefix, which ends at `end`
    end: Tensor  # [N]
    node: Tensor  # [N] of its sentence's automaton
    have: Tensor  # [N] a bit for each required phrase that has occurred
    left: Tensor  # [N] symbols to come at most


@dataclass(frozen=True, kw_only=True)
class LexicalConstraint:
    """What one answer is to be.

    Args:
        prefix: the bytes that its symbols begin with
        require: phrases that occur in it
        forbid: phrases that do not
    """

    prefix: bytes = b""
    require: tuple[str, ...] = ()
    forbid: tuple[str, ...] = ()


class _Prefix(NamedTuple):
    """The ways through a prefix: from each of its places the symbols that may come there."""

    symbols: list[list[int]]
    needs: list[list[int]]  # symbols that must come behind each of these, before EOS may
    due: list[list[int]]  # of them those that the phrases need


class LexicalGrammar(Grammar):
    """Answers whose text begins with a prefix, has all required phrases and none of the forbidden.

    The prefix may be cut into symbols in any way, and may end within one, so that its last word can go on.
    Where a phrase occurs says `automaton`. As Hokamp & Liu 2017 and Post & Vilar 2018, but over text instead
    of subwords: no segmentation of a phrase is preferred.

    What is required is always met: a symbol is allowed if the shortest way from there to where EOS may come,
    which is known exactly, is not longer than what the limit leaves. Where the limit is too small from the
    first, nothing is allowed.

    Args:
        surfaces: the text of each symbol
        wanted: what the answer to each sentence is to be [B]
    """

    def __init__(self, surfaces: Surfaces, wanted: Sequence[LexicalConstraint]) -> None:
        if (most := max(len(one.require) for one in wanted)) > MOST:
            raise UserError(f"{most} phrases are required of one answer; ask for {MOST} at most")
        self.surfaces = surfaces
        self.wanted = wanted
        self._hopeless: Sequence[bool] | None = None  # of each sentence; None: not prepared

    def prepare(self, limits: Sequence[int]) -> None:
        """Build the tables for answers of at most `limits` symbols."""
        fitting = [self._fitting(one, limit) for one, limit in zip(self.wanted, limits, strict=True)]
        self._build([one or LexicalConstraint() for one in fitting])
        self._hopeless = [one is None for one in fitting]

    def start(self, rows: int, limits: Tensor) -> Written:
        """Nothing is written."""
        if self._hopeless is None:
            self.prepare(limits.tolist())
        for name, table in vars(self).items():
            if isinstance(table, Tensor):
                setattr(self, name, to_device(table, limits.device))
        hopeless = to_device(torch.tensor(self._hopeless), limits.device)
        self._hopeless = None
        first = torch.where(hopeless, self.first + (DEAD - START), self.first)
        return Written(self.begin, self.end, first, torch.zeros_like(first), limits)

    def _fitting(self, wanted: LexicalConstraint, limit: int) -> LexicalConstraint | None:
        """Leave out forbidden phrases that are too long for `limit` symbols; None if a required one is.

        This bounds the size of the tables by the limit.

        Raises:
            UserError: the other phrases have more than `MOST_BYTES`
        """
        if len(wanted.prefix) > limit * self.surfaces.longest:
            return None
        if not all(self.surfaces.fits(phrase, limit) for phrase in wanted.require):
            return None
        forbid = tuple(phrase for phrase in wanted.forbid if self.surfaces.fits(phrase, limit))
        if (size := sum(len(phrase.encode()) for phrase in (*wanted.require, *forbid))) > MOST_BYTES:
            raise UserError(
                f"the required and forbidden phrases of one answer have {size:,} bytes together; "
                f"give at most {MOST_BYTES:,}"
            )
        return replace(wanted, forbid=forbid)

    def _build(self, wanted: Sequence[LexicalConstraint]) -> None:
        """Make the tables of the automata of all phrases, and of the symbols that continue each prefix."""
        surfaces = self.surfaces
        self.lengths = surfaces.lengths
        kinds = self.kinds = list(dict.fromkeys((one.require, one.forbid) for one in wanted))
        lifted = [surfaces.lifted(*kind) for kind in kinds]
        starts = [0]
        for one in lifted:
            starts.append(starts[-1] + len(one.step))
        self.requires = torch.tensor([bool(require) for require, _ in kinds])  # [kinds]
        self.classes = torch.stack([one.classes for one in lifted])  # [kinds, V]
        self.kind = torch.cat([torch.full((len(one.step),), i) for i, one in enumerate(lifted)])  # [A]
        self.step = _stacked(
            [one.step + start for one, start in zip(lifted, starts, strict=False)], 0
        )  # [A, C]
        self.found = _stacked([one.found for one in lifted], 0)  # [A, C]
        self.need = _stacked([one.need for one in lifted], NEVER)  # [A, M] int16
        places = [kinds.index((one.require, one.forbid)) for one in wanted]
        ways = [_ways(surfaces, lifted[i], one.prefix) for i, one in zip(places, wanted, strict=True)]
        lengths = torch.tensor([len(one.symbols) + 1 for one in ways])
        self.end = lengths.cumsum(0) - 1  # [B] places where prefixes end, from which there are no ways
        self.begin = self.end - lengths + 1  # [B]
        per_place = [part for one in ways for part in (*one.symbols, [])]
        self.ways = torch.tensor([0, *map(len, per_place)]).cumsum(0)  # [P + 1] where those of a place begin
        self.symbols, self.needs, self.dues = (
            torch.tensor([n for one in ways for part in one[column] for n in part], dtype=kind)  # [E]
            for column, kind in enumerate((torch.int64, torch.int16, torch.int16))
        )
        self.most = max(map(len, per_place))  # symbols that can follow at one place of a prefix
        self.first = torch.tensor([starts[i] + START for i in places])  # [B]

    def allowed(self, state: Written) -> Tensor:
        """True where a symbol may come next: [N, V] bool; nothing where the limit was too small."""
        left = state.left.clamp(max=NEVER)
        allowed = self._behind(state) < left[:, None]
        allowed[:, EOS] = self.need[state.node, state.have] == 0
        allowed[:, :EOS] = False
        allowed &= (state.place == state.end)[:, None]
        hypothesis, way, there = self._ways(state)
        # Unused entries of the list stand for PAD, which is never allowed.
        allowed[hypothesis, self.symbols[way] * there] = (self.needs[way] < left[hypothesis]) & there
        return allowed

    def advance(self, state: Written, tokens: Tensor) -> Written:
        """After one more token of each hypothesis, [N] int64."""
        classes = self.classes[self.kind[state.node], tokens]
        return Written(
            place=(state.place + self.lengths[tokens]).minimum(state.end),
            end=state.end,
            node=self.step[state.node, classes],
            have=state.have | self.found[state.node, classes],
            left=state.left - 1,
        )

    def remaining(self, state: Written) -> Tensor | None:
        """The fewest symbols that the required phrases still take after each symbol: [N, V] int16."""
        if not any(require for require, _ in self.kinds):
            return None
        due = self._behind(state)
        due[:, EOS] = 0
        hypothesis, way, there = self._ways(state)
        due[hypothesis, self.symbols[way] * there] = self.dues[way] * there
        # What is only forbidden may make a word go on, which is no demand.
        return due * self.requires[self.kind[state.node]][:, None]

    def _behind(self, state: Written) -> Tensor:
        """The fewest symbols that must come after each symbol before EOS may, no prefix regarded: [N, V]."""
        after = self.step[state.node]  # [N, C]
        have = state.have[:, None] | self.found[state.node]
        return self.need[after, have].gather(1, self.classes[self.kind[state.node]])

    def _ways(self, state: Written) -> tuple[Tensor, Tensor, Tensor]:
        """List the symbols that can follow in each hypothesis that is still within its prefix.

        Returns for each entry of the list the hypothesis, the index into `symbols`, and true if the entry
        is used. On a GPU each hypothesis gets the largest number of entries that any could need, because the
        host would have to wait for the exact number.
        """
        start = self.ways[state.place]  # [N]
        counts = self.ways[state.place + 1] - start
        each = torch.arange(len(counts), device=counts.device)
        if counts.is_cuda:
            hypothesis = each.repeat_interleave(self.most)
            within = torch.arange(self.most, device=counts.device).repeat(len(counts))
        else:
            hypothesis = each.repeat_interleave(counts)
            first = counts.cumsum(0) - counts
            within = torch.arange(len(hypothesis)) - first[hypothesis]
        there = within < counts[hypothesis]
        return hypothesis, (start[hypothesis] + within) * there, there


def _ways(surfaces: Surfaces, lifted: Lifted, prefix: bytes) -> _Prefix:
    """The symbols that may stand at each place of a prefix, with what must follow; found from its end."""
    nodes, have = [START], [0]  # of the automaton, at each place
    for byte in prefix:
        have.append(have[-1] | int(lifted.byte_found[nodes[-1], byte]))
        nodes.append(int(lifted.byte_step[nodes[-1], byte]))
    total = len(prefix)
    due = int(lifted.need[nodes[total], have[total]])
    least = [NEVER] * total + [due]  # symbols to come, from each place
    none: list[list[int]] = [[] for _ in range(total)]
    found = _Prefix(none, list(none), list(none))
    for place in range(total - 1, -1, -1):
        rest = prefix[place : place + surfaces.longest + 1]
        inner = [(symbol, least[place + n]) for symbol, n in surfaces.within(rest)]
        outer = surfaces.beyond(rest)
        classes = lifted.classes[outer]
        node = lifted.step[nodes[place], classes]
        needs = lifted.need[node, lifted.found[nodes[place], classes] | have[place]].tolist() if outer else []
        found.symbols[place] = [symbol for symbol, _ in inner] + outer
        found.needs[place] = [need for _, need in inner] + needs
        found.due[place] = [due] * len(inner) + needs
        least[place] = min(NEVER, 1 + min(found.needs[place], default=NEVER))
    return found


def _stacked(tables: Sequence[Tensor], fill: int) -> Tensor:
    """Tables one below the other, the narrower ones filled up on the right."""
    width = max(table.size(1) for table in tables)
    return torch.cat(
        [torch.nn.functional.pad(table, (0, width - table.size(1)), value=fill) for table in tables]
    )
