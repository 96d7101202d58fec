import torch
from torch import Tensor

import seqx


class Newcomer(seqx.Search):
    """Greedy search: the most probable next token, at most ten tokens more than the source has."""

    def max_lengths(self, lengths: Tensor) -> Tensor:
        return lengths + 10

    @torch.no_grad()
    def __call__(
        self,
        model: seqx.Generator,
        source: seqx.Column,
        max_lengths: Tensor,
        grammar: seqx.Grammar | None = None,
        memory: seqx.State | None = None,
        trace: seqx.SearchTrace | None = None,  # not supported
    ) -> list[list[seqx.Hypothesis]]:
        count = len(source.values)
        memory = model.encode(source) if memory is None else memory
        slots = model.slots(memory, count, 1, int(max_lengths.max()) + 1)
        grammar_state = None if grammar is None else grammar.start(count, max_lengths)
        token = torch.full((count,), seqx.BOS, device=source.values.device)
        finished = torch.zeros_like(token, dtype=torch.bool)
        dropped = finished.clone()  # true if the grammar allowed no token
        ids = [list[int]() for _ in range(count)]
        logprob = torch.zeros_like(token, dtype=torch.float64)
        for step in range(int(max_lengths.max()) + 1):
            log_probs = slots.step(token).float().log_softmax(-1)  # [B, V]
            allowed = torch.ones_like(log_probs, dtype=torch.bool)
            if grammar is not None:
                allowed = grammar.allowed(grammar_state)
            dropped |= ~allowed.any(1) & ~finished
            choices = log_probs.masked_fill(~allowed, -torch.inf)
            token = choices[:, seqx.EOS :].argmax(-1) + seqx.EOS
            token = token.where((max_lengths.to(token.device) > step) & ~finished, seqx.EOS)
            logprob += log_probs.gather(1, token[:, None])[:, 0].where(~finished, 0)
            finished |= token == seqx.EOS
            for output, symbol, is_finished in zip(ids, token.tolist(), finished.tolist(), strict=True):
                if not is_finished:
                    output.append(symbol)
            if grammar is not None:
                grammar_state = grammar.advance(grammar_state, token)
            if finished.all():
                break
        return [
            [] if is_dropped else [seqx.Hypothesis(ids=output, score=value, logprob=value)]
            for output, value, is_dropped in zip(ids, logprob.tolist(), dropped.tolist(), strict=True)
        ]


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    registry.add(seqx.Search, newcomer=Newcomer)
