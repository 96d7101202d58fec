"""Beam search, and the length limit and the helpers that it shares with the other searches.

Letters in shapes: B sentences, K hypotheses of each sentence (the beam size), N = B * K hypotheses in one
dimension, C candidates, V symbols, T tokens.
"""

from dataclasses import dataclass, replace
from typing import Annotated, Any, NamedTuple, Self, TypeVar

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor

import seqx
from seqx_search.beam_allocation import allocate_beam, best_with_fewest_remaining

L = TypeVar("L", float, Tensor)

MAX_SIZE = 10_000
"""The maximum beam size."""

NOT_FINITE = (
    "the logits of the model are not finite, because it is damaged or diverged in training; use another model"
)

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
    """

    ratio: Annotated[float, Ge(0), Le(1_000)] = 1.0
    extra: Annotated[int, Ge(0), Le(1_000_000)] = 50

    def __post_init__(self) -> None:
        if self.ratio == 0 and self.extra == 0:
            raise ValueError(
                "ratio and extra are both 0, so every output would be empty; increase one of them"
            )

    def max_lengths(self, lengths: Tensor) -> Tensor:
        """Return the maximum output tokens [B] for sources of `lengths` [B] tokens, both without EOS."""
        return (lengths.double() * self.ratio + self.extra).long()


class Active(NamedTuple):
    """The unfinished hypotheses of each sentence, best first."""

    logprob: Tensor  # [B, K], -inf without a hypothesis
    ids: Tensor  # [B, K, T], padded with EOS


class Finished(NamedTuple):
    """The best finished hypotheses of each sentence, best first."""

    score: Tensor  # [B, nbest], -inf without a hypothesis
    logprob: Tensor  # [B, nbest]
    ids: Tensor  # [B, nbest, T], padded with EOS


class Continuations(NamedTuple):
    """The best continuations of each sentence's hypotheses, in the order in which they enter the beam."""

    logprob: Tensor  # [B, C]
    parent: Tensor  # [B, C] the number of the hypothesis within its sentence
    token: Tensor  # [B, C]


@dataclass(frozen=True, kw_only=True)
class Beam(LengthLimitedSearch):
    """Beam search: it keeps the `size` most probable unfinished hypotheses of each sentence.

    Finished hypotheses are ranked by logprob / ((5 + length) / 6)^alpha, the length penalty of Wu et al.
    2016, section 7. The length counts EOS, as in tensor2tensor, with which Vaswani et al. 2017 decoded: the
    sentence "a b EOS" has length 3. Many other toolkits divide by length^alpha, so their values of alpha do
    not apply here.

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
    ) -> list[list[seqx.Hypothesis]]:
        """Return the `nbest` best hypotheses of each sentence, or fewer if the search finds fewer.

        Raises:
            UserError: the logits are not finite
        """
        with torch.no_grad():
            return self._search(model, source, max_lengths, grammar, memory)

    def _search(
        self,
        model: seqx.Generator,
        source: seqx.Column,
        max_lengths: Tensor,
        grammar: seqx.Grammar | None,
        memory: seqx.State | None,
    ) -> list[list[seqx.Hypothesis]]:
        """Decode token by token, without gradients; see `__call__`."""
        count, device = source.values.size(0), source.values.device
        steps = int(max_lengths.max()) + 1
        if grammar is not None:
            grammar.prepare(max_lengths.tolist())
        max_lengths = seqx.to_device(max_lengths, device)
        memory = model.encode(source) if memory is None else memory
        state = seqx.fork(model.start(memory, steps), self.size)
        grammar_state: Any = (
            None if grammar is None else seqx.fork(grammar.start(count, max_lengths), self.size)
        )
        active, finished = self._start(count, steps, device)
        token = torch.full((count * self.size, 1), seqx.BOS, device=device)  # [N, 1]
        sentences = list(range(count))  # the numbers of the sentences that are not done
        hypotheses: list[list[seqx.Hypothesis]] = [[] for _ in range(count)]
        finite = torch.ones((), dtype=torch.bool, device=device)
        for step in range(steps):
            outputs, state = model.advance(token, state, None)
            allowed = None if grammar is None else grammar.allowed(grammar_state)
            remaining = None if grammar is None else grammar.remaining(grammar_state)
            logits = model.head(outputs[:, -1]).float()  # [N, V]
            finite = finite & (logits.amax(1).isfinite()).all()
            best = self._continuations(active.logprob, logits, allowed, remaining, max_lengths <= step)
            finished = self._finish(finished, active, best, step)
            active, parent, last = self._continue(active, best, step)
            done = finished.score[:, -1] >= active.logprob.amax(1) / self.penalty(max_lengths + 1)
            done = done | (max_lengths <= step)
            # On a GPU, a done sentence may stay in the batch. Keep its finished hypotheses as they are.
            active = active._replace(logprob=active.logprob.masked_fill(done[:, None], -torch.inf))
            remaining_rows = torch.arange(len(done), device=device)
            if should_poll(step, steps, done):
                copied = finished._replace(ids=finished.ids[:, :, : step + 1])
                host_done, host_finite, *columns = copy_to_host(done, finite.expand_as(done), *copied)
                for i in host_done.nonzero()[:, 0].tolist():
                    nbest = _hypotheses(*(column[i].tolist() for column in columns))
                    if not nbest and (grammar is None or not host_finite[i]):
                        raise seqx.UserError(NOT_FINITE)
                    hypotheses[sentences[i]] = nbest
                sentences = [
                    number
                    for number, is_done in zip(sentences, host_done.tolist(), strict=True)
                    if not is_done
                ]
                if not sentences:
                    break
                if len(sentences) < len(done):
                    remaining_rows = true_indices(~done, len(sentences))
                    active, finished = seqx.rows(active, remaining_rows), seqx.rows(finished, remaining_rows)
                    max_lengths = max_lengths[remaining_rows]
            parents = (remaining_rows[:, None] * self.size + parent[remaining_rows]).flatten()  # [N]
            token = last[remaining_rows].view(-1, 1)
            state = seqx.rows(state, parents)
            if grammar is not None:
                grammar_state = grammar.advance(seqx.rows(grammar_state, parents), token[:, 0])
        return hypotheses

    def _start(self, count: int, steps: int, device: torch.device) -> tuple[Active, Finished]:
        # Single precision changes the fifth digit of a sum of a hundred terms, which can change the beam.
        logprob = torch.full((count, self.size), -torch.inf, dtype=torch.float64, device=device)
        logprob[:, 0] = 0  # one empty hypothesis for each sentence, because several would be equal
        ids = torch.full((count, self.size, steps), seqx.EOS, device=device)
        none = logprob.new_full((count, self.nbest), -torch.inf)
        return Active(logprob, ids), Finished(none, none, ids[:, : self.nbest])

    def _continuations(
        self,
        logprob: Tensor,
        logits: Tensor,
        allowed: Tensor | None,
        remaining: Tensor | None,
        at_limit: Tensor,
    ) -> Continuations:
        """Return the 2 * size best continuations of each sentence.

        Each hypothesis contributes its size + 3 best symbols: `size` symbols, EOS, and PAD and BOS, which are
        never written. If required symbols remain, it also contributes the best symbols after which the fewest
        remain. The best continuations are selected from those of all hypotheses of a sentence.

        Args:
            logprob: the log-probabilities of the hypotheses [B, K]
            logits: the logits of the next symbol [N, V]
            allowed: true for the symbols that the grammar allows [N, V]
            remaining: the number of required symbols that remain after each symbol [N, V]
            at_limit: true for sentences that must end now [B]
        """
        normalizer = logits.logsumexp(1, keepdim=True)  # [N, 1]
        allowed_logits = logits if allowed is None else logits.masked_fill(~allowed, -torch.inf)
        value, token = allowed_logits.topk(min(self.size + 3, logits.size(1)))
        value = value.masked_fill(token < seqx.EOS, -torch.inf) - normalizer
        at_limit = at_limit.repeat_interleave(self.size)
        value = value.masked_fill(at_limit[:, None], -torch.inf)
        end = logits[:, seqx.EOS] - normalizer[:, 0]
        if allowed is not None:
            end = end.masked_fill(~allowed.any(1), -torch.inf)
        value[:, 0] = end.where(at_limit, value[:, 0])
        token[:, 0] = token[:, 0].where(~at_limit, seqx.EOS)
        if remaining is not None:
            logit, required = best_with_fewest_remaining(allowed_logits, remaining, token, self.size)
            required_value = (logit - normalizer).masked_fill(at_limit[:, None], -torch.inf)
            value, token = torch.cat([value, required_value], 1), torch.cat([token, required], 1)
        candidates = token.size(1)  # the candidates of each hypothesis
        total = (logprob.view(-1, 1) + value).view(-1, self.size * candidates)
        tokens = token.view(-1, self.size * candidates)
        if remaining is None:
            best, index = total.topk(2 * self.size)
        else:
            still_required = remaining.gather(1, token).view_as(tokens)
            index = allocate_beam(total, still_required)[:, : 2 * self.size]
            best = total.gather(1, index)
        return Continuations(best, index // candidates, tokens.gather(1, index))

    def _finish(self, finished: Finished, active: Active, best: Continuations, step: int) -> Finished:
        """Add the hypotheses that end among the `size` best continuations to the finished hypotheses."""
        logprob = best.logprob[:, : self.size]
        logprob = logprob.masked_fill(best.token[:, : self.size] != seqx.EOS, -torch.inf)
        score, index = torch.cat([finished.score, logprob / self.penalty(step + 1)], 1).topk(self.nbest)
        ids = torch.cat([finished.ids, _take(active.ids, best.parent[:, : self.size])], 1)
        return Finished(score, torch.cat([finished.logprob, logprob], 1).gather(1, index), _take(ids, index))

    def _continue(self, active: Active, best: Continuations, step: int) -> tuple[Active, Tensor, Tensor]:
        """Return the first `size` continuations without EOS, their parents and their tokens [B, K]."""
        ends = best.token == seqx.EOS
        index = ends.int().argsort(dim=1, stable=True)[:, : self.size]
        logprob = best.logprob.masked_fill(ends, -torch.inf).gather(1, index)
        parent, token = best.parent.gather(1, index), best.token.gather(1, index)
        ids = _take(active.ids, parent)
        ids[:, :, step] = token
        return Active(logprob, ids), parent, token


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


def copy_to_host(*tensors: Tensor) -> list[Tensor]:
    """Copy several tensors [B, ...] from their device at once, because each copy waits for the device.

    The copies are float64, which represents integers up to 2^53 exactly.
    """
    flat = [tensor.reshape(len(tensor), -1).double() for tensor in tensors]
    copies = torch.split(torch.cat(flat, 1).cpu(), [columns.size(1) for columns in flat], 1)
    return [copy.view(tensor.shape) for copy, tensor in zip(copies, tensors, strict=True)]


def true_indices(flags: Tensor, count: int) -> Tensor:
    """Return the indices of the `count` true entries of `flags` [B], without waiting for the device."""
    return (~flags).int().argsort(stable=True)[:count]
