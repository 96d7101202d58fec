"""Decodes one hypothesis for each sentence, token by token.

Letters in shapes: B sentences of the batch, N of them not finished yet, V symbols, T tokens.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import seqx
from seqx_search.length_limit import NOT_FINITE, copy_to_host, should_poll, true_indices

Choose = Callable[[Tensor, Tensor, int], Tensor]
"""Chooses a symbol for each sentence: [N], counted from EOS.

The arguments are the logits [N, V - EOS] of EOS and the symbols after it (-inf: forbidden), the numbers of
the sentences [N] in the batch, and the step, from 0.
"""


def decode_one_hypothesis(
    model: seqx.Model,
    source: seqx.Tokens,
    max_lengths: Tensor,
    grammar: seqx.Grammar | None,
    memory: seqx.State | None,
    *,
    choose: Choose,
) -> list[list[seqx.Hypothesis]]:
    """Return one hypothesis for each sentence, whose score is its log-probability.

    A sentence has no hypothesis if the grammar allows no symbol at some step.

    Args:
        model: gives the logits
        source: the padded sources
        max_lengths: maximum output tokens [B], EOS excluded
        grammar: restricts the outputs
        memory: the encoded source; None: it is encoded here
        choose: chooses the next symbol

    Raises:
        UserError: the logits are not finite
    """
    count, device = source.ids.size(0), source.ids.device
    steps = int(max_lengths.max()) + 1
    if grammar is not None:
        grammar.prepare(max_lengths.tolist())
    max_lengths = seqx.to_device(max_lengths, device)
    state = model.start(model.encode(source) if memory is None else memory, steps)
    grammar_state: Any = None if grammar is None else grammar.start(count, max_lengths)
    sentences = torch.arange(count, device=device)  # [N] those not finished
    numbers = list(range(count))  # the same on the host
    hypotheses: list[list[seqx.Hypothesis]] = [[] for _ in numbers]
    done = torch.zeros(count, dtype=torch.bool, device=device)  # [N]
    ids = torch.full((count, steps), seqx.EOS, device=device)  # [N, T]
    logprob = torch.zeros(count, dtype=torch.float64, device=device)  # [N]
    rejected = torch.zeros_like(done)  # [N] true if the grammar allowed nothing
    token = torch.full((count,), seqx.BOS, device=device)  # [N]
    for step in range(steps):
        outputs, state = model.advance(token[:, None], state, None)
        logits = model.head(outputs[:, -1]).float()  # [N, V]
        choices = logits
        if grammar is not None:
            allowed = grammar.allowed(grammar_state)
            none_allowed = ~allowed.any(1)
            rejected = rejected | (none_allowed & ~done)
            allowed[:, seqx.EOS] |= none_allowed
            choices = logits.masked_fill(~allowed, -torch.inf)
        token = choose(choices[:, seqx.EOS :], sentences, step) + seqx.EOS
        token = token.where((step < max_lengths[sentences]) & ~done, seqx.EOS)
        gain = logits.gather(1, token[:, None])[:, 0] - logits.logsumexp(1)
        logprob = logprob + gain.where(~done, 0)
        ids[:, step] = token
        done = done | (token == seqx.EOS)
        if grammar is not None:
            grammar_state = grammar.advance(grammar_state, token)
        if should_poll(step, steps, done):
            finished, no_output, total, written = copy_to_host(done, rejected, logprob, ids[:, : step + 1])
            for i in finished.nonzero()[:, 0].tolist():
                hypotheses[numbers[i]] = _hypotheses(bool(no_output[i]), float(total[i]), written[i].tolist())
            numbers = [number for number, end in zip(numbers, finished.tolist(), strict=True) if not end]
            if not numbers:
                break
            if len(numbers) < len(done):
                active = true_indices(~done, len(numbers))
                state, grammar_state = seqx.rows(state, active), seqx.rows(grammar_state, active)
                sentences, token, done = sentences[active], token[active], done[active]
                ids, logprob, rejected = ids[active], logprob[active], rejected[active]
    return hypotheses


def _hypotheses(rejected: bool, logprob: float, ids: list[float]) -> list[seqx.Hypothesis]:
    """Return the hypothesis of a sentence; none if the grammar allowed none."""
    if not math.isfinite(logprob):
        raise seqx.UserError(NOT_FINITE)
    if rejected:
        return []
    written = [int(token) for token in ids[: ids.index(seqx.EOS)]]
    return [seqx.Hypothesis(ids=written, score=logprob, logprob=logprob)]
