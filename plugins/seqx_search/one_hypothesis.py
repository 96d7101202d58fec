"""Decoding of one hypothesis for each sentence, token by token.

Letters in shapes: B sentences of the batch, N unfinished sentences, V symbols, T tokens.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import seqx
from seqx_search.beam import NOT_FINITE, copy_to_host, should_poll, true_indices

Choose = Callable[[Tensor, Tensor, int], Tensor]
"""A function that returns the next symbol of each sentence as its id minus EOS: [N].

Its arguments are the logits [N, V - EOS] of EOS and the symbols after it (-inf: not allowed), the numbers of
the sentences [N] in the batch, and the number of the step, from 0.
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
) -> list[list[seqx.Hypothesis]]:
    """Return one hypothesis for each sentence. Its score is its log-probability.

    A sentence has no hypothesis if the grammar allows no symbol at some step.

    Args:
        model: the model
        source: the padded sources
        max_lengths: the maximum output tokens [B], EOS excluded
        grammar: the grammar of the outputs; None: all outputs are allowed
        memory: the encoded source; None: encode it
        choose: the function that chooses the next symbols

    Raises:
        UserError: the logits are not finite
    """
    count, device = source.values.size(0), source.values.device
    steps = int(max_lengths.max()) + 1
    if grammar is not None:
        grammar.prepare(max_lengths.tolist())
    max_lengths = seqx.to_device(max_lengths, device)
    state = model.start(model.encode(source) if memory is None else memory, steps)
    grammar_state: Any = None if grammar is None else grammar.start(count, max_lengths)
    sentences = torch.arange(count, device=device)  # [N] the numbers of the unfinished sentences
    numbers = list(range(count))  # the same numbers on the host
    hypotheses: list[list[seqx.Hypothesis]] = [[] for _ in numbers]
    done = torch.zeros(count, dtype=torch.bool, device=device)  # [N]
    ids = torch.full((count, steps), seqx.EOS, device=device)  # [N, T]
    logprob = torch.zeros(count, dtype=torch.float64, device=device)  # [N]
    rejected = torch.zeros_like(done)  # [N] true if the grammar allowed no symbol
    token = torch.full((count,), seqx.BOS, device=device)  # [N]
    for step in range(steps):
        outputs, state = model.advance(token[:, None], state, None)
        logits = model.head(outputs[:, -1]).float()  # [N, V]
        allowed_logits = logits
        if grammar is not None:
            allowed = grammar.allowed(grammar_state)
            none_allowed = ~allowed.any(1)
            rejected = rejected | (none_allowed & ~done)
            allowed[:, seqx.EOS] |= none_allowed
            allowed_logits = logits.masked_fill(~allowed, -torch.inf)
        token = choose(allowed_logits[:, seqx.EOS :], sentences, step) + seqx.EOS
        token = token.where((step < max_lengths[sentences]) & ~done, seqx.EOS)
        token_logprob = logits.gather(1, token[:, None])[:, 0] - logits.logsumexp(1)
        logprob = logprob + token_logprob.where(~done, 0)
        ids[:, step] = token
        done = done | (token == seqx.EOS)
        if grammar is not None:
            grammar_state = grammar.advance(grammar_state, token)
        if should_poll(step, steps, done):
            host_done, *columns = copy_to_host(done, rejected, logprob, ids[:, : step + 1])
            host_rejected, host_logprob, host_ids = (column.tolist() for column in columns)
            for i in host_done.nonzero()[:, 0].tolist():
                hypotheses[numbers[i]] = _hypotheses(host_rejected[i], host_logprob[i], host_ids[i])
            numbers = [
                number for number, is_done in zip(numbers, host_done.tolist(), strict=True) if not is_done
            ]
            if not numbers:
                break
            if len(numbers) < len(done):
                active = true_indices(~done, len(numbers))
                state, grammar_state = seqx.rows(state, active), seqx.rows(grammar_state, active)
                sentences, token, done = sentences[active], token[active], done[active]
                ids, logprob, rejected = ids[active], logprob[active], rejected[active]
    return hypotheses


def _hypotheses(rejected: float, logprob: float, ids: list[float]) -> list[seqx.Hypothesis]:
    """Return the hypothesis of a sentence from copied values; none if the grammar rejected it (1.0)."""
    if not math.isfinite(logprob):
        raise seqx.UserError(NOT_FINITE)
    if rejected:
        return []
    tokens = [int(token) for token in ids[: ids.index(seqx.EOS)]]
    return [seqx.Hypothesis(ids=tokens, score=logprob, logprob=logprob)]
