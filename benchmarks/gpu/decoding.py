"""Speed of beam search with the Transformer (base), random weights and outputs of one length."""

import time
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from benchmarks.gpu.cases import Case, Measurements
from benchmarks.gpu.machine import median
from benchmarks.gpu.recipes import TINY, experiment, model
from seqx.interfaces.networks import Generator
from seqx.interfaces.tensors import EOS, UNK, Column, State
from seqx.runtime.devices import autocast, device_of
from seqx.runtime.precision import precision_of
from seqx_search import Beam

LENGTH = 28
"""Number of tokens of each source and each output, EOS included."""


class Endless(Generator):
    """Wraps a model so that no output ends before its limit."""

    def __init__(self, model: Generator) -> None:
        super().__init__(model.vocab_sizes)
        self.model = model

    def encode(self, source: Column) -> State:
        """Encode with the wrapped model."""
        return self.model.encode(source)

    def start(self, memory: State, capacity: int | None) -> State:
        """Start with the wrapped model."""
        return self.model.start(memory, capacity)

    def advance(self, ids: Tensor, state: State, keep: Tensor | None) -> tuple[Tensor, State]:
        """Advance with the wrapped model."""
        return self.model.advance(ids, state, keep)

    def head(self, outputs: Tensor) -> Tensor:
        """Return the logits of the wrapped model with a very low one for EOS."""
        logits = self.model.head(outputs)
        logits[..., EOS] = -1e4  # finite, because an output at its limit still ends with EOS
        return logits


def cases(*, dry_run: bool) -> Iterator[Case]:
    """Yield a case for a small batch and one for a large batch."""
    sizes, vocabulary, overrides = ((4, 8), 500, TINY) if dry_run else ((64, 1024), 37_000, ())
    setup = experiment("wmt_en_de", overrides)
    torch.manual_seed(1)
    endless = Endless(model(setup, vocabulary)).to(device_of("auto")).eval()
    for size in sizes:
        needs = 1 if dry_run else 15
        yield Case(f"batch {size}", needs, partial(measure, endless, size, repeats=1 if dry_run else 5))


def measure(model: Generator, size: int, left: float, *, repeats: int) -> Measurements:
    """Measure the speed of decoding a batch of `size` sentences."""
    device = device_of("auto")
    precision = precision_of("auto", device)
    search = Beam(size=4, alpha=0.6)
    ids = torch.randint(UNK + 1, model.vocab_sizes["source"], (size, LENGTH))
    ids[:, -1] = EOS
    source = Column.of(ids, torch.full((size,), LENGTH)).to(device)
    limits = torch.full((size,), LENGTH - 1)

    def decode() -> int:
        with torch.no_grad(), autocast(device, precision):  # as `Predictor` does
            nbests = search(model, source, limits)
        return sum(len(hypotheses[0].ids) + 1 for hypotheses in nbests)

    start_time = time.perf_counter()
    tokens = decode()
    assert tokens == size * LENGTH, "all outputs have the same length"
    first_seconds = time.perf_counter() - start_time
    seconds = median(decode, max(1, min(repeats, int(left / max(first_seconds, 1e-3)) - 4)))
    return {
        "precision": precision,
        "beam": search.size,
        "sentences": size,
        "output_tokens_per_sentence": LENGTH,
        "seconds": seconds,
        "output_tokens_per_second": tokens / seconds,
        "sentences_per_second": size / seconds,
    }
