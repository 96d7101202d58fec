"""A model small enough to know its answers.

Letters in shapes: B sentences, S source tokens, T target tokens, D numbers, V symbols.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from seqx.interfaces.networks import Model
from seqx.interfaces.values import EOS, Memory, State, Tokens


class Toy(Model):
    """Copies the source: at each step the next source token is `sure` nats likelier than others.

    `endless`: EOS, at the source's end, is impossible.
    """

    def __init__(
        self, vocab_sizes: Mapping[str, int], *, sure: float = 2.0, endless: bool = False, seed: int = 0
    ) -> None:
        super().__init__(vocab_sizes)
        self.sure, self.endless = sure, endless
        noise = torch.randn(
            vocab_sizes["target"], vocab_sizes["target"], generator=torch.Generator().manual_seed(seed)
        )
        self.noise = nn.Parameter(noise * 0.1)  # what follows what, [V, V]

    def encode(self, source: Tokens) -> Memory:
        """The source's ids as states [B, S, 1]."""
        states = torch.where(source.layout.keep, source.ids, EOS)[..., None].float()
        return Memory(states, states, source.layout)

    def start(self, memory: Memory, capacity: int | None) -> State:
        """The ids to copy and how many were copied."""
        ids = memory.states[..., 0].long()
        return ids, torch.zeros(len(ids), dtype=torch.int64)

    def advance(self, ids: Tensor, state: State, keep: Tensor | None) -> tuple[Tensor, State]:
        """Outputs are logits."""
        source, copied = state
        places = copied[:, None] + torch.arange(ids.size(1))
        wanted = source.gather(1, places.clamp_max(source.size(1) - 1))
        wanted = wanted.masked_fill(places >= source.size(1), EOS)
        logits = self.noise[ids] + self.sure * nn.functional.one_hot(wanted, self.vocab_sizes["target"])
        if self.endless:
            logits = logits.index_fill(-1, torch.tensor([EOS]), -80.0)
        return logits, (source, copied + ids.size(1))

    def labels(self, memory: Memory) -> Mapping[str, Tensor]:
        """What follows each source token: "source" [B, S, V]."""
        return {"source": self.noise[memory.states[..., 0].long()].log_softmax(-1)}

    def head(self, outputs: Tensor) -> Tensor:
        """Outputs are logits."""
        return outputs
