"""Models whose predictions are known.

Letters in shapes: B sentences, S source tokens, T target tokens, V symbols.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from seqx.interfaces.networks import Generator, Model
from seqx.interfaces.tensors import EOS, Batch, Column, Memory, State


class Toy(Generator):
    """A model that copies the source.

    Args:
        margin: difference between the logit of the next source token and the other logits, except noise
        endless: give EOS a probability of almost 0, so that no hypothesis ends
        seed: seed of the noise that is added to the logits
    """

    def __init__(
        self, vocab_sizes: Mapping[str, int], *, margin: float = 2.0, endless: bool = False, seed: int = 0
    ) -> None:
        super().__init__(vocab_sizes)
        self.margin, self.endless = margin, endless
        noise = torch.randn(
            vocab_sizes["target"], vocab_sizes["target"], generator=torch.Generator().manual_seed(seed)
        )
        self.noise = nn.Parameter(noise * 0.1)  # [V, V] logits of the next symbol by the previous one

    def encode(self, source: Column) -> Memory:
        """Return the ids of the source as states [B, S, 1]."""
        states = torch.where(source.layout.keep, source.values, EOS)[..., None].float()
        return Memory(states, states, source.layout)

    def start(self, memory: Memory, capacity: int | None) -> State:
        """Return the ids to copy [B, S], and the number of tokens copied so far [B]."""
        ids = memory.states[..., 0].long()
        return ids, torch.zeros(len(ids), dtype=torch.int64)

    def advance(self, ids: Tensor, state: State, keep: Tensor | None) -> tuple[Tensor, State]:
        """Advance by ids [B, T]; return logits [B, T, V] and the state after them."""
        source, copied = state
        indices = copied[:, None] + torch.arange(ids.size(1))
        next_ids = source.gather(1, indices.clamp_max(source.size(1) - 1))
        next_ids = next_ids.masked_fill(indices >= source.size(1), EOS)
        logits = self.noise[ids] + self.margin * nn.functional.one_hot(next_ids, self.vocab_sizes["target"])
        if self.endless:
            logits = logits.index_fill(-1, torch.tensor([EOS]), -80.0)
        return logits, (source, copied + ids.size(1))

    def labels(self, memory: Memory) -> Mapping[str, Tensor]:
        """Return log-probabilities [B, S, V] of the symbol that follows each source token, as "source"."""
        return {"source": self.noise[memory.states[..., 0].long()].log_softmax(-1)}

    def head(self, outputs: Tensor) -> Tensor:
        """Return the outputs, which are logits already."""
        return outputs


class Certain(Model):
    """A model that is certain of the same target for every source.

    Args:
        target: the ids of the target
    """

    def __init__(self, vocab_sizes: Mapping[str, int], target: Sequence[int]) -> None:
        super().__init__(vocab_sizes)
        self.target = torch.tensor(target)

    def forward(self, batch: Batch) -> Tensor:
        """Return the logits [B, T, V] of the target, one for each token of the column "target"."""
        rows, length = batch.columns["target"].values.shape
        logits = 40.0 * nn.functional.one_hot(self.target[:length], self.vocab_sizes["target"])
        return logits.expand(rows, -1, -1)
