"""Beam search, and the length limit and the helpers that it shares with the other searches.

Letters in shapes: B sentences, K hypotheses of each sentence (the beam size), N = B * K hypotheses in one
dimension, C candidates, V symbols, T tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Self, TypeVar

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor

import seqx
from seqx_search.beam_allocation import allocate_beam, best_with_fewest_remaining
from seqx_search.beam_state import Active, Continuations, Finished
from seqx_search.processors import process
from seqx_search.trace import record_beam

L = TypeVar("L", float, Tensor)

MAX_SIZE = 10_000
"""The maximum beam size."""

NOT_FINITE = (
    "the logits of the model are not finite, because it is damaged or diverged in training; use another "
    "model, or train with a lower learning rate"
)

MANY_COLUMNS, BLOCK = 4096, 64
"""The number of columns from which `largest` selects blocks first, and the columns of a block."""

POLL_INTERVAL = 8
"""The number of decoding steps on a GPU after which the host copies results. Each copy waits for the GPU."""


@dataclass(frozen=True, kw_only=True)
class LengthLimitedSearch(seqx.Search):
    """A search whose outputs have at most `ratio * source length + extra` tokens, EOS excluded in both.

    A hypothesis of this length is forced to end: EOS follows, and its log-probability is added. The default
    limit is that of Vaswani et al. 2017, section 6.1: input length + 50.

    Args:
        ratio: output tokens for each source token
        extra: additional output tokens
        processors: rules that change the scores of the next symbols, applied in this order
    """

    ratio: Annotated[float, Ge(0), Le(1_000)] = 1.0
    extra: Annotated[int, Ge(0), Le(1_000_000)] = 50
    processors: list[seqx.ScoreProcessor] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.ratio == 0 and self.extra == 0:
            raise ValueError(
                "ratio and extra are both 0, so every output would be empty; increase one of them"
            )

    def max_lengths(self, lengths: Tensor) -> Tensor:
        """Return the maximum output tokens [B] for sources of `lengths` [B] tokens, both without EOS."""
        return (lengths.double() * self.ratio + self.extra).long()


@dataclass(frozen=True, kw_only=True)
class Beam(LengthLimitedSearch):
    """Beam search: it keeps the `size` most probable unfinished hypotheses of each sentence.

    Finished hypotheses are ranked by logprob / ((5 + length) / 6)^alpha, the length penalty of Wu et al.
    2016, section 7. The length counts EOS, as in tensor2tensor, with which Vaswani et al. 2017 decoded: the
    sentence "a b EOS" has length 3. Many other toolkits divide by length^alpha, as `normalized_beam` does;
    their values of alpha do not apply here.

    A hypothesis finishes if EOS is among the `size` best continuations of its sentence. A sentence is done
    when none of its unfinished hypotheses can still enter its `nbest`. A log-probability never rises, so the
    best score that a hypothesis can reach is its current log-probability divided by the penalty of the
    maximum length.

    If a grammar requires phrases, the search divides the beam by the number of required symbols that remain
    (dynamic beam allocation, Post and Vilar 2018). Otherwise, hypotheses that postpone a required phrase
    would replace the hypotheses that write it, because they are more probable.

    Args:
        size: unfinished hypotheses kept for each sentence
        alpha: strength of the length penalty; 0 ranks hypotheses by log-probability
        nbest: hypotheses returned for each sentence, at most `size`. If several of them have the same text,
            the sentence is decoded again with twice the `size` and the `nbest`.
    """

    size: Annotated[int, Gt(0), Le(MAX_SIZE)] = 4
    alpha: Annotated[float, Ge(0), Le(10)] = 0.6
    nbest: Annotated[int, Gt(0)] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nbest > self.size:
            raise ValueError(
                f"nbest is {self.nbest}, but size is only {self.size}; set size to {self.nbest} or more"
            )

    @property
    def width(self) -> int:
        """The number of hypotheses of a sentence that the search extends at once."""
        return self.size

    @property
    def num_answers(self) -> int:
        """The number of answers to a sentence, all with different texts."""
        return self.nbest

    def wider(self) -> Self | None:
        """Return the same search with twice the beam size and `nbest`; None if that is too large."""
        return replace(self, size=2 * self.size, nbest=2 * self.nbest) if 2 * self.size <= MAX_SIZE else None

    def with_answers(self, number: int) -> Self:
        """Return the same search with another `nbest`, which is at most `size`."""
        return replace(self, nbest=min(number, self.size))

    def specification(self) -> seqx.SearchSpec:
        """Return a description of the search for exporters."""
        return seqx.SearchSpec(
            size=self.size,
            alpha=self.alpha,
            nbest=self.nbest,
            ratio=self.ratio,
            extra=self.extra,
            changes_scores=bool(self.processors),
        )

    def penalty(self, length: L) -> L:
        """Return the divisor of the log-probability of a hypothesis of `length` tokens, EOS included."""
        return ((5 + length) / 6) ** self.alpha

    def __call__(
        self,
        model: seqx.Generator,
        source: seqx.Column,
        max_lengths: Tensor,
        grammar: seqx.Grammar | None = None,
        memory: seqx.State | None = None,
        trace: seqx.SearchTrace | None = None,
    ) -> list[list[seqx.Hypothesis]]:
        """Return the `nbest` best hypotheses of each sentence, or fewer if the search finds fewer.

        Raises:
            NotFiniteError: the logits are not finite
        """
        with torch.no_grad():
            return self._search(model, source, max_lengths, grammar, memory, trace)

    def _search(
        self,
        model: seqx.Generator,
        source: seqx.Column,
        max_lengths: Tensor,
        grammar: seqx.Grammar | None,
        memory: seqx.State | None,
        trace: seqx.SearchTrace | None,
    ) -> list[list[seqx.Hypothesis]]:
        """Decode token by token, without gradients; see `__call__`."""
        count, device = source.values.size(0), source.values.device
        steps = int(max_lengths.max()) + 1
        if grammar is not None:
            grammar.prepare(max_lengths.tolist())
        shortest = int(max_lengths.min())  # before this step, no output is at its limit
        max_lengths = seqx.to_device(max_lengths, device)
        last_penalty = self.penalty(max_lengths + 1)  # [B]
        memory = model.encode(source) if memory is None else memory
        slots = model.slots(memory, count, self.size, steps)
        grammar_state: Any = (
            None if grammar is None else seqx.fork(grammar.start(count, max_lengths), self.size)
        )
        active, finished = self._start(count, steps, device)
        first = torch.arange(count, device=device)[:, None] * self.size  # [B, 1] hypothesis of each sentence
        token = torch.full((count, self.size), seqx.BOS, device=device)  # [B, K]
        hypotheses: list[list[seqx.Hypothesis]] = [[] for _ in range(count)]
        finite = torch.ones((), dtype=torch.bool, device=device)  # false if any logit was not finite
        may_be_empty = grammar is not None or bool(self.processors)
        for step in range(steps):
            # Each log-probability is NaN if any logit is NaN or infinity.
            logprobs = slots.step(token.flatten()).float().log_softmax(1)  # [N, V]
            finite = finite & ~logprobs[:, seqx.EOS].isnan().any()
            allowed = None if grammar is None else grammar.allowed(grammar_state)
            remaining = None if grammar is None else grammar.remaining(grammar_state)
            at_limit = None if step < shortest else max_lengths <= step
            best = self._continuations(active, logprobs, allowed, remaining, at_limit, step)
            if trace is not None:
                self._record(trace, slots.occupied, active, best, step)
            finished = self._finish(finished, active, best, step)
            active, parent, token = self._continue(active, best, step)
            slots.reorder(parent)
            done = self._done(finished, active, last_penalty, step)
            if at_limit is not None:
                done = done | at_limit
            # On a GPU, a done sentence may stay in the batch. Keep its finished hypotheses as they are.
            active = active._replace(score=active.score.masked_fill(done[:, None], -torch.inf))
            rows: Tensor | None = None
            if should_poll(step, steps, done):
                copied = finished._replace(ids=finished.ids[:, :, : step + 1])
                rows = _release(slots, hypotheses, done, finite, copied, may_be_empty=may_be_empty)
                if not slots.occupied:
                    break
                if rows is not None:
                    tensors = (active, finished, token, max_lengths, last_penalty)
                    active, finished, token, max_lengths, last_penalty = seqx.rows(tensors, rows)
            if grammar is not None:
                parents = first[: len(done)] + parent
                parents = (parents if rows is None else parents.index_select(0, rows)).flatten()  # [N]
                grammar_state = grammar.advance(seqx.rows(grammar_state, parents), token.flatten())
        return [sorted(found, key=lambda each: -each.score)[: self.nbest] for found in hypotheses]

    @property
    def _kept(self) -> int:
        """The number of finished hypotheses that are kept for each sentence."""
        return self.nbest

    def _done(self, finished: Finished, active: Active, last_penalty: Tensor, step: int) -> Tensor:
        """Return true for sentences that are done after a step [B].

        Args:
            finished: the finished hypotheses
            active: the unfinished hypotheses
            last_penalty: the penalty of the maximum length [B]
            step: the number of the step, from 0
        """
        return finished.score[:, -1] >= active.score.amax(1) / last_penalty

    def _start(self, count: int, steps: int, device: torch.device) -> tuple[Active, Finished]:
        # Single precision changes the fifth digit of a sum of a hundred terms, which can change the beam.
        score = torch.full((count, self.size), -torch.inf, dtype=torch.float64, device=device)
        score[:, 0] = 0  # one empty hypothesis for each sentence, because several would be equal
        ids = torch.full((count, self.size, steps), seqx.EOS, device=device)
        none = score.new_full((count, self._kept), -torch.inf)
        return Active(score, score, ids), Finished(none, none, ids[:, : self._kept])

    def _continuations(
        self,
        active: Active,
        logprobs: Tensor,
        allowed: Tensor | None,
        remaining: Tensor | None,
        at_limit: Tensor | None,
        step: int,
    ) -> Continuations:
        """Return the 2 * size best continuations of each sentence.

        Args:
            active: the unfinished hypotheses
            logprobs: the log-probabilities of the next symbol [N, V]
            allowed: true for the symbols that the grammar allows [N, V]
            remaining: the number of required symbols that remain after each symbol [N, V]
            at_limit: true for sentences whose outputs have their maximum length [B]; None: there are none
            step: the number of symbols that were written so far, T
        """
        changed = logprobs
        if self.processors:
            ids = active.ids[:, :, :step].flatten(0, 1)  # [N, T]
            changed = process(self.processors, logprobs, ids)
        return self._best(active, logprobs, changed, allowed, remaining, at_limit)

    def _best(
        self,
        active: Active,
        logprobs: Tensor,
        changed: Tensor,
        allowed: Tensor | None,
        remaining: Tensor | None,
        at_limit: Tensor | None,
    ) -> Continuations:
        """Return the 2 * size best continuations of each sentence by changed log-probabilities.

        Each hypothesis contributes its size + 3 best symbols: `size` symbols, EOS, and PAD and BOS, which are
        never written. If required symbols remain, it also contributes the best symbols after which the fewest
        remain. The best continuations are selected from those of all hypotheses of a sentence.

        `changed` has the values by which continuations are ranked; it is the tensor `logprobs` itself if
        nothing changes them. The others are the arguments of `_continuations`.
        """
        is_changed = changed is not logprobs
        if allowed is not None:
            changed = changed.where(allowed, -torch.inf)
        value, token = largest(changed, min(self.size + 3, logprobs.size(1)))
        value = value.masked_fill(token < seqx.EOS, -torch.inf)
        if at_limit is not None:
            at_limit = at_limit.repeat_interleave(self.size)[:, None]
            value = value.masked_fill(at_limit, -torch.inf)
            end = self._end(logprobs[:, seqx.EOS])
            if allowed is not None:
                end = end.masked_fill(~allowed.any(1), -torch.inf)
            value[:, 0] = end.where(at_limit[:, 0], value[:, 0])
            token[:, 0] = token[:, 0].where(~at_limit[:, 0], seqx.EOS)
        if remaining is not None:
            required_value, required = best_with_fewest_remaining(changed, remaining, token, self.size)
            if at_limit is not None:
                required_value = required_value.masked_fill(at_limit, -torch.inf)
            value, token = torch.cat([value, required_value], 1), torch.cat([token, required], 1)
        candidates = token.size(1)  # the candidates of each hypothesis
        total = (active.score.view(-1, 1) + value).view(-1, self.size * candidates)
        tokens = token.view(-1, self.size * candidates)
        if remaining is None:
            score, index = total.topk(2 * self.size)
        else:
            index = allocate_beam(total, remaining.gather(1, token).view_as(tokens))[:, : 2 * self.size]
            score = total.gather(1, index)
        logprob = score
        if is_changed:
            of_model = active.logprob.view(-1, 1) + logprobs.gather(1, token)
            logprob = of_model.view_as(total).gather(1, index)
        return Continuations(score, logprob, index // candidates, tokens.gather(1, index))

    def _end(self, logprob: Tensor) -> Tensor:
        """Return what EOS at the maximum length adds to the score, for its log-probability [N]."""
        return logprob

    def _finish(self, finished: Finished, active: Active, best: Continuations, step: int) -> Finished:
        """Add the hypotheses that end among the `size` best continuations to the finished hypotheses."""
        score = best.score[:, : self.size] / self.penalty(step + 1)
        score = score.masked_fill(best.token[:, : self.size] != seqx.EOS, -torch.inf)
        score, index = torch.cat([finished.score, score], 1).topk(self._kept)
        logprob = torch.cat([finished.logprob, best.logprob[:, : self.size]], 1).gather(1, index)
        ids = torch.cat([finished.ids, _take(active.ids, best.parent[:, : self.size])], 1)
        return Finished(score, logprob, _take(ids, index))

    def _continue(self, active: Active, best: Continuations, step: int) -> tuple[Active, Tensor, Tensor]:
        """Return the first `size` continuations without EOS, their parents and their tokens [B, K]."""
        ends = best.token == seqx.EOS
        index = self._first_unfinished(ends)
        score = best.score.masked_fill(ends, -torch.inf).gather(1, index)
        logprob = best.logprob.gather(1, index) if self._changes_scores else score
        parent, token = best.parent.gather(1, index), best.token.gather(1, index)
        ids = _take(active.ids, parent)
        ids[:, :, step] = token
        return Active(score, logprob, ids), parent, token

    def _first_unfinished(self, ends: Tensor) -> Tensor:
        """Return the indices of the first `size` continuations that do not end."""
        return ends.int().argsort(dim=1, stable=True)[:, : self.size]

    @property
    def _changes_scores(self) -> bool:
        """True if scores differ from log-probabilities."""
        return bool(self.processors)

    def _record(
        self,
        trace: seqx.SearchTrace,
        sentences: Sequence[int],
        active: Active,
        best: Continuations,
        step: int,
    ) -> None:
        """Record the continuations of a step."""
        record_beam(trace, sentences, active, best, step, self.penalty(step + 1))


def _release(
    slots: seqx.Slots,
    hypotheses: list[list[seqx.Hypothesis]],
    done: Tensor,
    finite: Tensor,
    finished: Finished,
    *,
    may_be_empty: bool,
) -> Tensor | None:
    """Store the hypotheses of the sentences that are done, and release their slots.

    Return the rows of the other sentences; None if no sentence is done.

    Args:
        slots: the slots of the sentences
        hypotheses: the hypotheses of each slot, to be stored
        done: true for sentences that are done [B]
        finite: true if all logits so far were finite []
        finished: the finished hypotheses
        may_be_empty: true if a grammar or a processor can leave a sentence without hypotheses

    Raises:
        NotFiniteError: the logits are not finite
    """
    host_done, host_finite, *columns = seqx.copy_to_host(done, finite.expand_as(done), *finished)
    indices = host_done.nonzero()[:, 0].tolist()
    released = [slots.occupied[i] for i in indices]
    for i, slot in zip(indices, released, strict=True):
        hypotheses[slot] = _hypotheses(*(column[i].tolist() for column in columns))
        if not hypotheses[slot] and not (may_be_empty and host_finite[i]):
            raise seqx.NotFiniteError(NOT_FINITE)
    slots.release(released)
    return seqx.true_indices(~done, len(slots.occupied)) if released else None


def largest(x: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the largest values of each row and their indices [N, `count`], in descending order.

    On a CPU, if there are many columns, blocks of columns are selected first, by their largest value.

    Args:
        x: the values [N, V]
        count: the number of values
    """
    blocks = x.size(1) // BLOCK
    if x.is_cuda or x.size(1) < MANY_COLUMNS or count > blocks / 2:
        return x.topk(count)
    by_block = x[:, : blocks * BLOCK].view(len(x), blocks, BLOCK)
    chosen = by_block.amax(2).topk(count).indices[..., None]  # [N, K, 1]
    columns = (chosen * BLOCK + torch.arange(BLOCK)).flatten(1)
    rest = torch.arange(blocks * BLOCK, x.size(1)).expand(len(x), -1)
    columns = torch.cat([columns, rest], 1)
    value, index = x.gather(1, columns).topk(count)
    return value, columns.gather(1, index)


def _take(ids: Tensor, index: Tensor) -> Tensor:
    """Return the rows of each sentence's ids [B, C, T] that `index` [B, K] selects."""
    return ids.gather(1, index[..., None].expand(-1, -1, ids.size(2)))


def _hypotheses(scores: list[float], logprobs: list[float], ids: list[list[float]]) -> list[seqx.Hypothesis]:
    """Return the finished hypotheses of a sentence, made of scores, log-probabilities and padded ids."""
    return [
        seqx.Hypothesis(
            ids=[int(token) for token in row[: row.index(seqx.EOS)]], score=score, logprob=logprob
        )
        for score, logprob, row in zip(scores, logprobs, ids, strict=True)
        if score > -torch.inf
    ]


def should_poll(step: int, steps: int, done: Tensor) -> bool:
    """Return true if the host should copy results after a step.

    Args:
        step: the number of the step, from 0
        steps: the number of steps
        done: true for sentences that are done [B]
    """
    if done.is_cuda:
        return (step + 1) % POLL_INTERVAL == 0 or step + 1 == steps
    return bool(done.any())
