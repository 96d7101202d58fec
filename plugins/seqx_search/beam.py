"""Beam search.

Letters in shapes: B sentences in the batch, K hypotheses of each (size), N = B * K of them next to each
other, C candidates, V symbols, T tokens.
"""

from dataclasses import dataclass, replace
from typing import Annotated, Any, NamedTuple, Self, TypeVar

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor

import seqx
from seqx_search.beam_allocation import allocate_beam, nearest
from seqx_search.length_limit import NOT_FINITE, LengthLimitedSearch, first, on_host, reads

L = TypeVar("L", float, Tensor)

LARGEST = 10_000
"""The most hypotheses that are kept for each sentence."""


class Open(NamedTuple):
    """The hypotheses of each sentence that have not ended, best first."""

    logprob: Tensor  # [B, K], -inf where there is none
    ids: Tensor  # [B, K, T], EOS after what is written


class Ended(NamedTuple):
    """The best hypotheses of each sentence that have ended, best first."""

    score: Tensor  # [B, nbest], -inf where there is none
    logprob: Tensor  # [B, nbest]
    ids: Tensor  # [B, nbest, T], EOS from the end on


class Candidates(NamedTuple):
    """The best continuations of each sentence's hypotheses, in the order in which they get a place."""

    logprob: Tensor  # [B, C]
    parent: Tensor  # [B, C] which of the sentence's hypotheses goes on
    token: Tensor  # [B, C]


@dataclass(frozen=True, kw_only=True)
class Beam(LengthLimitedSearch):
    """Keeps the `size` most probable beginnings and ranks what has ended by logprob / penalty.

    The penalty is ((5 + length) / 6)^alpha (Wu et al. 2016, section 7), where the length counts EOS, as
    tensor2tensor counts, with which Vaswani et al. 2017 decoded: the sentence "a b EOS" has length 3. Other
    toolkits divide by length^alpha: an alpha of theirs means something else here.

    A beginning ends where EOS is among the `size` best continuations of its sentence. A sentence is done
    when no unfinished hypothesis can still get among its `nbest`: log-probabilities only fall, so the best
    that one can reach is its present one divided by the penalty of the longest output allowed.

    Where a grammar says what is due, places are shared out among hypotheses of which equally much is
    demanded, so that those that meet a demand are not pushed out by those that put it off (dynamic beam
    allocation, Post & Vilar 2018, by what is still due instead of what was met).

    Args:
        size: hypotheses kept for each sentence
        alpha: strength of the length penalty; 0: hypotheses are ranked by log-probability
        nbest: hypotheses returned for each sentence, at most `size`; if several of them have the same text,
            the sentence is searched again with twice the size
    """

    size: Annotated[int, Gt(0), Le(LARGEST)] = 4
    alpha: Annotated[float, Ge(0), Le(10)] = 0.6
    nbest: Annotated[int, Gt(0)] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nbest > self.size:
            raise ValueError(
                f"nbest is {self.nbest}, which a beam of size {self.size} does not find; make it larger"
            )

    @property
    def width(self) -> int:
        """How many hypotheses of a sentence are computed at once."""
        return self.size

    @property
    def num_answers(self) -> int:
        """The number of different answers to a sentence that the search should give."""
        return self.nbest

    def wider(self) -> Self | None:
        """Return the same search with twice the beam size; None if that is too large."""
        return replace(self, size=2 * self.size, nbest=2 * self.nbest) if 2 * self.size <= LARGEST else None

    def penalty(self, length: L) -> L:
        """What the log-probability of a hypothesis of `length` tokens, EOS counted, is divided by."""
        return ((5 + length) / 6) ** self.alpha

    @torch.no_grad()
    def __call__(
        self,
        model: seqx.Model,
        source: seqx.Tokens,
        limits: Tensor,
        grammar: seqx.Grammar | None = None,
        memory: seqx.State | None = None,
    ) -> list[list[seqx.Hypothesis]]:
        """The `nbest` hypotheses of each sentence, fewer where there are not so many, or not allowed."""
        count, device = source.ids.size(0), source.ids.device
        steps = int(limits.max()) + 1
        if grammar is not None:
            grammar.prepare(limits.tolist())
        limits = seqx.to_device(limits, device)
        memory = model.encode(source) if memory is None else memory
        state = seqx.fork(model.start(memory, steps), self.size)
        rules: Any = None if grammar is None else seqx.fork(grammar.start(count, limits), self.size)
        opened, ended = self._start(count, steps, device)
        token = torch.full((count * self.size, 1), seqx.BOS, device=device)  # [N, 1]
        sentences = list(range(count))  # those in the batch
        found: list[list[seqx.Hypothesis]] = [[] for _ in range(count)]
        finite = torch.ones((), dtype=torch.bool, device=device)
        for step in range(steps):
            outputs, state = model.advance(token, state, None)
            allowed, due = (
                (None, None) if grammar is None else (grammar.allowed(rules), grammar.remaining(rules))
            )
            logits = model.head(outputs[:, -1]).float()  # [N, V]
            finite = finite & (logits.amax(1).isfinite()).all()
            candidates = self._candidates(opened.logprob, logits, allowed, due, limits <= step)
            ended = self._end(ended, opened, candidates, step)
            opened, parent, last = self._go_on(opened, candidates, step)
            done = ended.score[:, -1] >= opened.logprob.amax(1) / self.penalty(limits + 1)
            done = done | (limits <= step)
            # What goes on after its sentence is done must not push out an equal that ended before.
            opened = opened._replace(logprob=opened.logprob.masked_fill(done[:, None], -torch.inf))
            going = torch.arange(len(done), device=device)
            if reads(step, steps, done):
                written = ended._replace(ids=ended.ids[:, :, : step + 1])
                gone, sound, *columns = on_host(done, finite.expand_as(done), *written)
                for i in gone.nonzero()[:, 0].tolist():
                    hypotheses = _hypotheses(*(column[i].tolist() for column in columns))
                    if not hypotheses and (grammar is None or not sound[i]):
                        raise seqx.UserError(NOT_FINITE)
                    found[sentences[i]] = hypotheses
                sentences = [
                    sentence for sentence, over in zip(sentences, gone.tolist(), strict=True) if not over
                ]
                if not sentences:
                    break
                if len(sentences) < len(done):
                    going = first(len(sentences), ~done)
                    opened, ended = seqx.rows(opened, going), seqx.rows(ended, going)
                    limits = limits[going]
            chosen = (going[:, None] * self.size + parent[going]).flatten()  # [N]
            token = last[going].view(-1, 1)
            state = seqx.rows(state, chosen)
            if grammar is not None:
                rules = grammar.advance(seqx.rows(rules, chosen), token[:, 0])
        return found

    def _start(self, count: int, steps: int, device: torch.device) -> tuple[Open, Ended]:
        # In double precision: a sum of a hundred terms would lose the fifth digit, by which beams differ.
        logprob = torch.full((count, self.size), -torch.inf, dtype=torch.float64, device=device)
        logprob[:, 0] = 0  # one empty hypothesis: others would be the same
        ids = torch.full((count, self.size, steps), seqx.EOS, device=device)
        none = logprob.new_full((count, self.nbest), -torch.inf)
        return Open(logprob, ids), Ended(none, none, ids[:, : self.nbest])

    def _candidates(
        self, logprob: Tensor, logits: Tensor, allowed: Tensor | None, due: Tensor | None, last: Tensor
    ) -> Candidates:
        """The 2 * size best continuations, after logits [N, V]; for sentences at their limit [B] just EOS.

        They are found in two stages. Each hypothesis gives size + 3: PAD and BOS are never written, and as
        many as `size` must be left besides EOS. Where something is due [N, V], it also gives those after
        which the least is, and what is due after them shares the places out.
        """
        normalizer = logits.logsumexp(1, keepdim=True)  # [N, 1]
        choices = logits if allowed is None else logits.masked_fill(~allowed, -torch.inf)
        value, token = choices.topk(min(self.size + 3, logits.size(1)))
        value = value.masked_fill(token < seqx.EOS, -torch.inf) - normalizer
        last = last.repeat_interleave(self.size)
        value = value.masked_fill(last[:, None], -torch.inf)
        end = logits[:, seqx.EOS] - normalizer[:, 0]
        if allowed is not None:
            end = end.masked_fill(~allowed.any(1), -torch.inf)
        value[:, 0] = end.where(last, value[:, 0])
        token[:, 0] = token[:, 0].where(~last, seqx.EOS)
        if due is not None:
            nearer, where = nearest(choices, due, token, self.size)
            value = torch.cat([value, (nearer - normalizer).masked_fill(last[:, None], -torch.inf)], 1)
            token = torch.cat([token, where], 1)
        each = token.size(1)
        value, token = (
            (logprob.view(-1, 1) + value).view(-1, self.size * each),
            token.view(-1, self.size * each),
        )
        if due is None:
            best, place = value.topk(2 * self.size)
        else:
            place = allocate_beam(value, due.gather(1, token.view(-1, each)).view_as(token))[
                :, : 2 * self.size
            ]
            best = value.gather(1, place)
        return Candidates(best, place // each, token.gather(1, place))

    def _end(self, ended: Ended, opened: Open, candidates: Candidates, step: int) -> Ended:
        """With the candidates that end among the `size` best."""
        logprob = candidates.logprob[:, : self.size]
        logprob = logprob.masked_fill(candidates.token[:, : self.size] != seqx.EOS, -torch.inf)
        score, place = torch.cat([ended.score, logprob / self.penalty(step + 1)], 1).topk(self.nbest)
        ids = torch.cat([ended.ids, _take(opened.ids, candidates.parent[:, : self.size])], 1)
        return Ended(score, torch.cat([ended.logprob, logprob], 1).gather(1, place), _take(ids, place))

    def _go_on(self, opened: Open, candidates: Candidates, step: int) -> tuple[Open, Tensor, Tensor]:
        """The first `size` candidates that do not end, their parents and their tokens [B, K]."""
        ends = candidates.token == seqx.EOS
        place = ends.int().argsort(dim=1, stable=True)[:, : self.size]
        logprob = candidates.logprob.masked_fill(ends, -torch.inf).gather(1, place)
        parent, token = candidates.parent.gather(1, place), candidates.token.gather(1, place)
        ids = _take(opened.ids, parent)
        ids[:, :, step] = token
        return Open(logprob, ids), parent, token


def _take(ids: Tensor, index: Tensor) -> Tensor:
    """Of each sentence's ids [B, C, T] those that index [B, K] names."""
    return ids.gather(1, index[..., None].expand(-1, -1, ids.size(2)))


def _hypotheses(scores: list[float], logprobs: list[float], ids: list[list[float]]) -> list[seqx.Hypothesis]:
    """The finished hypotheses of a sentence."""
    return [
        seqx.Hypothesis(
            ids=[int(token) for token in row[: row.index(seqx.EOS)]], score=score, logprob=logprob
        )
        for score, logprob, row in zip(scores, logprobs, ids, strict=True)
        if score > -torch.inf
    ]
