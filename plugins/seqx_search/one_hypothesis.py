"""Writing one hypothesis for each sentence, token after token.

Letters in shapes: B sentences of the batch, N of them not yet done, V symbols, T tokens.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import seqx
from seqx_search.length_limit import NOT_FINITE, first, on_host, reads

Choose = Callable[[Tensor, Tensor, int], Tensor]
"""From logits [N, V - EOS] of EOS and the symbols after it (-inf: forbidden), the sentences [N] they belong
to and the step, from 0: the chosen symbol [N], counted from EOS."""


def decode_one_hypothesis(
    model: seqx.Model,
    source: seqx.Tokens,
    limits: Tensor,
    grammar: seqx.Grammar | None,
    memory: seqx.State | None,
    *,
    choose: Choose,
) -> list[list[seqx.Hypothesis]]:
    """One hypothesis for each sentence, whose score is its log-probability; none where nothing is allowed."""
    count, device = source.ids.size(0), source.ids.device
    steps = int(limits.max()) + 1
    if grammar is not None:
        grammar.prepare(limits.tolist())
    limits = seqx.to_device(limits, device)
    state = model.start(model.encode(source) if memory is None else memory, steps)
    rules: Any = None if grammar is None else grammar.start(count, limits)
    sentences = torch.arange(count, device=device)  # [N] those in the batch
    numbers = list(range(count))  # the same on the host
    found: list[list[seqx.Hypothesis]] = [[] for _ in numbers]
    done = torch.zeros(count, dtype=torch.bool, device=device)  # [N]
    ids = torch.full((count, steps), seqx.EOS, device=device)  # [N, T]
    logprob = torch.zeros(count, dtype=torch.float64, device=device)  # [N]
    lost = torch.zeros_like(done)  # [N] where nothing was allowed
    token = torch.full((count,), seqx.BOS, device=device)  # [N]
    for step in range(steps):
        outputs, state = model.advance(token[:, None], state, None)
        logits = model.head(outputs[:, -1]).float()  # [N, V]
        choices = logits
        if grammar is not None:
            allowed = grammar.allowed(rules)
            stuck = ~allowed.any(1)
            lost = lost | (stuck & ~done)
            allowed[:, seqx.EOS] |= stuck
            choices = logits.masked_fill(~allowed, -torch.inf)
        token = choose(choices[:, seqx.EOS :], sentences, step) + seqx.EOS
        token = token.where((step < limits[sentences]) & ~done, seqx.EOS)
        gain = logits.gather(1, token[:, None])[:, 0] - logits.logsumexp(1)
        logprob = logprob + gain.where(~done, 0)
        ids[:, step] = token
        done = done | (token == seqx.EOS)
        if grammar is not None:
            rules = grammar.advance(rules, token)
        if reads(step, steps, done):
            gone, given_up, total, written = on_host(done, lost, logprob, ids[:, : step + 1])
            for i in gone.nonzero()[:, 0].tolist():
                found[numbers[i]] = _hypotheses(bool(given_up[i]), float(total[i]), written[i].tolist())
            numbers = [number for number, over in zip(numbers, gone.tolist(), strict=True) if not over]
            if not numbers:
                break
            if len(numbers) < len(done):
                going = first(len(numbers), ~done)
                state, rules = seqx.rows(state, going), seqx.rows(rules, going)
                sentences, token, done = sentences[going], token[going], done[going]
                ids, logprob, lost = ids[going], logprob[going], lost[going]
    return found


def _hypotheses(lost: bool, logprob: float, ids: list[float]) -> list[seqx.Hypothesis]:
    """Return the hypothesis of a sentence; none if no symbol was allowed."""
    if not math.isfinite(logprob):
        raise seqx.UserError(NOT_FINITE)
    if lost:
        return []
    written = [int(token) for token in ids[: ids.index(seqx.EOS)]]
    return [seqx.Hypothesis(ids=written, score=logprob, logprob=logprob)]
