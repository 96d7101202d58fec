"""Decoding of one hypothesis for each sentence, token by token.

Letters in shapes: B sentences of the batch, N unfinished sentences, V symbols, T tokens.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

import seqx
from seqx_search.beam import NOT_FINITE, should_poll
from seqx_search.processors import process
from seqx_search.trace import record_single

Choose = Callable[[Tensor, Tensor, int], Tensor]
"""A function that returns the next symbol of each sentence as its id minus EOS: [N].

Its arguments are the log-probabilities or scores [N, V - EOS] of EOS and the symbols after it (-inf: not
allowed), the numbers of the sentences [N] in the batch, and the number of the step, from 0.
"""


@torch.no_grad()
def decode_one_hypothesis(
    model: seqx.Generator,
    source: seqx.Column,
    max_lengths: Tensor,
    grammar: seqx.Grammar | None,
    memory: seqx.State | None,
    *,
    choose: Choose,
    trace: seqx.SearchTrace | None,
    processors: Sequence[seqx.ScoreProcessor],
) -> list[list[seqx.Hypothesis]]:
    """Return one hypothesis for each sentence. Its score is its log-probability.

    A sentence has no hypothesis if grammar and processors allow no symbol at some step.

    Args:
        model: the model
        source: the padded sources
        max_lengths: the maximum output tokens [B], EOS excluded
        grammar: the grammar of the outputs; None: all outputs are allowed
        memory: the encoded source; None: encode it
        choose: the function that chooses the next symbols
        trace: filled with the hypothesis of each step; None: do not record them
        processors: rules that change the scores from which `choose` chooses

    Raises:
        NotFiniteError: the logits are not finite
    """
    count, device = source.values.size(0), source.values.device
    steps = int(max_lengths.max()) + 1
    if grammar is not None:
        grammar.prepare(max_lengths.tolist())
    max_lengths = seqx.to_device(max_lengths, device)
    memory = model.encode(source) if memory is None else memory
    slots = model.slots(memory, count, 1, steps)
    grammar_state: Any = None if grammar is None else grammar.start(count, max_lengths)
    sentences = torch.arange(count, device=device)  # [N] the numbers of the unfinished sentences
    hypotheses: list[list[seqx.Hypothesis]] = [[] for _ in range(count)]
    done = torch.zeros(count, dtype=torch.bool, device=device)  # [N]
    ids = torch.full((count, steps), seqx.EOS, device=device)  # [N, T]
    logprob = torch.zeros(count, dtype=torch.float64, device=device)  # [N]
    rejected = torch.zeros_like(done)  # [N] true if no symbol was allowed
    token = torch.full((count,), seqx.BOS, device=device)  # [N]
    for step in range(steps):
        logprobs = slots.step(token).float().log_softmax(1)  # [N, V]
        allowed = None if grammar is None else grammar.allowed(grammar_state)
        scores = process(processors, logprobs, ids[:, :step]) if processors else logprobs
        scores = scores if allowed is None else scores.where(allowed, -torch.inf)
        if scores is not logprobs:
            none_allowed = scores[:, seqx.EOS :].amax(1) == -torch.inf
            rejected = rejected | (none_allowed & ~done)
            # Any symbol may be chosen for a rejected sentence; EOS ends it.
            scores = scores.masked_fill(none_allowed[:, None], 0)
            done = done | none_allowed
        token = choose(scores[:, seqx.EOS :], sentences, step) + seqx.EOS
        token = token.where((step < max_lengths[sentences]) & ~done, seqx.EOS)
        token_logprob = logprobs.gather(1, token[:, None])[:, 0]
        logprob = logprob + token_logprob.where(~done, 0)
        ids[:, step] = token
        if trace is not None:
            record_single(trace, sentences, ids[:, : step + 1], logprob, rejected)
        done = done | (token == seqx.EOS)
        if grammar is not None:
            grammar_state = grammar.advance(grammar_state, token)
        if should_poll(step, steps, done):
            host_done, *columns = seqx.copy_to_host(done, rejected, logprob, ids[:, : step + 1])
            host_rejected, host_logprob, host_ids = (column.tolist() for column in columns)
            indices = host_done.nonzero()[:, 0].tolist()
            released = [slots.occupied[i] for i in indices]
            for i, slot in zip(indices, released, strict=True):
                hypotheses[slot] = _hypotheses(host_rejected[i], host_logprob[i], host_ids[i])
            slots.release(released)
            if not slots.occupied:
                break
            if released:
                active = seqx.true_indices(~done, len(slots.occupied))
                tensors = (grammar_state, sentences, token, done, ids, logprob, rejected)
                grammar_state, sentences, token, done, ids, logprob, rejected = seqx.rows(tensors, active)
    return hypotheses


def _hypotheses(rejected: float, logprob: float, ids: list[float]) -> list[seqx.Hypothesis]:
    """Return the hypothesis of a sentence from copied values; none if it was rejected (1.0)."""
    if not math.isfinite(logprob):
        raise seqx.NotFiniteError(NOT_FINITE)
    if rejected:
        return []
    tokens = [int(token) for token in ids[: ids.index(seqx.EOS)]]
    return [seqx.Hypothesis(ids=tokens, score=logprob, logprob=logprob)]
