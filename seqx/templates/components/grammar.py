from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

import seqx
from seqx_translation import Translation


class NewcomerGrammar(seqx.Grammar):
    """Outputs in which no symbol occurs twice. The state [N, V] is true for the symbols that are not allowed.

    Args:
        size: size V of the vocabulary
    """

    def __init__(self, *, size: int) -> None:
        self.size = size

    def start(self, rows: int, max_lengths: Tensor) -> Tensor:
        excluded = torch.zeros(rows, self.size, dtype=torch.bool, device=max_lengths.device)
        excluded[:, [seqx.PAD, seqx.BOS]] = True
        return excluded

    def allowed(self, state: Tensor) -> Tensor:
        return ~state

    def advance(self, state: Tensor, tokens: Tensor) -> Tensor:
        excluded = state.scatter(1, tokens[:, None], value=True)
        excluded[:, seqx.EOS] = False
        return excluded


@dataclass(kw_only=True, eq=False)
class Newcomer(Translation):
    """Translation whose outputs have no symbol twice."""

    def grammar(self, inputs: Sequence[Mapping[str, seqx.Values]]) -> seqx.Grammar:
        return NewcomerGrammar(size=self.vocab_sizes["target"])


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    registry.add(seqx.Task, newcomer=Newcomer)
