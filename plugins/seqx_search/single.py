"""Writing one hypothesis for each sentence, token after token.

Letters in shapes: B sentences of the batch, N of them not yet done, V symbols, T tokens.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import seqx
from seqx_search.limited import NOT_FINITE, check_every

Choose = Callable[[Tensor, Tensor, int], Tensor]
"""From logits [N, V - EOS] of EOS and the symbols after it (-inf: forbidden), the sentences [N] they belong
to and the step, from 0: the chosen symbol [N], counted from EOS."""


def write(
    model: seqx.Model, source: seqx.Tokens, limits: Tensor, grammar: seqx.Grammar | None, choose: Choose
) -> list[list[seqx.Hypothesis]]:
    """One hypothesis for each sentence, whose score is its log-probability; none where nothing is allowed."""
    count, device = source.ids.size(0), source.ids.device
    limits = limits.to(device)
    steps = int(limits.max()) + 1
    state = model.start(model.encode(source), steps)
    rules: Any = None if grammar is None else grammar.start(count, limits)
    sentences = torch.arange(count, device=device)  # [N] those in the batch
    done = torch.zeros(count, dtype=torch.bool, device=device)  # [N]
    ids = torch.full((count, steps), seqx.EOS, device=device)  # [B, T]
    logprob = torch.zeros(count, dtype=torch.float64, device=device)  # [B]
    lost = torch.zeros_like(done)  # [B] where nothing was allowed
    token = torch.full((count,), seqx.BOS, device=device)  # [N]
    for step in range(steps):
        outputs, state = model.advance(token[:, None], state, None)
        logits = model.head(outputs[:, -1]).float()  # [N, V]
        choices = logits
        if grammar is not None:
            allowed = grammar.allowed(rules)
            stuck = ~allowed.any(1)
            lost[sentences] |= stuck & ~done
            allowed[:, seqx.EOS] |= stuck
            choices = logits.masked_fill(~allowed, -torch.inf)
        token = choose(choices[:, seqx.EOS :], sentences, step) + seqx.EOS
        token = token.where((step < limits[sentences]) & ~done, seqx.EOS)
        gain = logits.gather(1, token[:, None])[:, 0] - logits.logsumexp(1)
        logprob[sentences] += gain.where(~done, 0)
        ids[sentences, step] = token
        done = done | (token == seqx.EOS)
        if grammar is not None:
            rules = grammar.advance(rules, token)
        if (step + 1) % check_every(token) == 0:
            going = (~done).nonzero()[:, 0]
            if not len(going):
                break
            if len(going) < len(done):
                state, rules = seqx.rows(state, going), seqx.rows(rules, going)
                sentences, token, done = sentences[going], token[going], done[going]
    values = logprob.tolist()
    if not all(map(math.isfinite, values)):
        raise seqx.UserError(NOT_FINITE)
    return [
        [] if given_up else [seqx.Hypothesis(ids=row[: row.index(seqx.EOS)], score=value, logprob=value)]
        for row, value, given_up in zip(ids.tolist(), values, lost.tolist(), strict=True)
    ]
