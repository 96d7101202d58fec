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
from seqx.interfaces.tensors import EOS, UNK, Column
from seqx.runtime.devices import autocast, device_of
from seqx.runtime.precision import precision_of
from seqx_search import Beam
from seqx_transformer import replay

LENGTH = 28
"""Number of tokens of each source and each output, EOS included."""


def endless(model: Generator) -> Generator:
    """Give EOS a very low logit, so that no output ends before its limit; return the model."""
    head = model.head

    def head_without_end(outputs: Tensor) -> Tensor:
        logits = head(outputs)
        logits[..., EOS] = -1e4  # finite, because an output at its limit still ends with EOS
        return logits

    model.head = head_without_end  # type: ignore[method-assign]
    return model


def cases(*, dry_run: bool) -> Iterator[Case]:
    """Yield cases for a small batch and a large one, with and without CUDA graphs."""
    sizes, vocabulary, overrides = ((4, 8), 500, TINY) if dry_run else ((64, 1024), 37_000, ())
    setup = experiment("wmt_en_de", overrides)
    torch.manual_seed(1)
    built = endless(model(setup, vocabulary)).to(device_of("auto")).eval()
    for size in sizes:
        for name, warm_up in ((f"batch {size}", replay.WARM_UP), (f"batch {size} without graphs", LENGTH)):
            needs, repeats = (1, 1) if dry_run else (5, 5)
            yield Case(name, needs, partial(measure, built, size, repeats=repeats, warm_up=warm_up))


def measure(model: Generator, size: int, left: float, *, repeats: int, warm_up: int) -> Measurements:
    """Measure the speed of decoding a batch of `size` sentences, whose steps are captured after `warm_up`."""
    replay.WARM_UP = warm_up
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
