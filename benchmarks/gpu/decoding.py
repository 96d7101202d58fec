"""Beam search with the Transformer (base) and random weights, every output as long as the others."""

import time
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from benchmarks.gpu.cases import Case, Figures
from benchmarks.gpu.machine import median
from benchmarks.gpu.recipes import TINY, experiment, model
from seqx.interfaces.networks import Model
from seqx.interfaces.tensors import EOS, UNK, State, Tokens
from seqx.runtime.devices import autocast, device_of, precision_of
from seqx_search import Beam

LENGTH = 28
"""Tokens of every source and every output, EOS counted."""


class Endless(Model):
    """Never ends an output before it must."""

    def __init__(self, model: Model) -> None:
        super().__init__(model.vocab_sizes)
        self.model = model

    def encode(self, source: Tokens) -> State:
        """As the model."""
        return self.model.encode(source)

    def start(self, memory: State, capacity: int | None) -> State:
        """As the model."""
        return self.model.start(memory, capacity)

    def advance(self, ids: Tensor, state: State, keep: Tensor | None) -> tuple[Tensor, State]:
        """As the model."""
        return self.model.advance(ids, state, keep)

    def head(self, outputs: Tensor) -> Tensor:
        """As the model, but that EOS comes after all else."""
        logits = self.model.head(outputs)
        logits[..., EOS] = -1e4  # finite: at its limit an output ends with it all the same
        return logits


def cases(*, dry_run: bool) -> Iterator[Case]:
    """A batch of 64, and a large one."""
    sizes, vocabulary, overrides = ((4, 8), 500, TINY) if dry_run else ((64, 1024), 37_000, ())
    described = experiment("wmt_en_de", overrides)
    torch.manual_seed(1)
    built = Endless(model(described, vocabulary)).to(device_of("auto")).eval()
    for size in sizes:
        needs = 1 if dry_run else 15
        yield Case(f"batch {size}", needs, partial(measure, built, size, repeats=1 if dry_run else 5))


def measure(model: Model, size: int, left: float, *, repeats: int) -> Figures:
    """Speed of one batch of so many sentences."""
    device = device_of("auto")
    precision = precision_of("auto", device)
    search = Beam(size=4, alpha=0.6)
    ids = torch.randint(UNK + 1, model.vocab_sizes["source"], (size, LENGTH))
    ids[:, -1] = EOS
    source = Tokens.of(ids, torch.full((size,), LENGTH)).to(device)
    limits = torch.full((size,), LENGTH - 1)

    def decode() -> int:
        with torch.no_grad(), autocast(device, precision):  # as `Predictor` does
            found = search(model, source, limits)
        return sum(len(hypotheses[0].ids) + 1 for hypotheses in found)

    began = time.perf_counter()
    tokens = decode()
    assert tokens == size * LENGTH, "every output is as long as the others"
    once = time.perf_counter() - began
    seconds = median(decode, max(1, min(repeats, int(left / max(once, 1e-3)) - 4)))
    return {
        "precision": precision,
        "beam": search.size,
        "sentences": size,
        "output_tokens_per_sentence": LENGTH,
        "seconds": seconds,
        "output_tokens_per_second": tokens / seconds,
        "sentences_per_second": size / seconds,
    }
