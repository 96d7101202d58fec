"""Whether the same updates give the same weights, to the bit: with any kernels, and with repeatable ones."""

import tempfile
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from benchmarks import corpus
from benchmarks.gpu.cases import Case, Figures
from benchmarks.gpu.recipes import TINY, batches, experiment, model, training
from seqx.data.store import Store
from seqx.parallel.step import Step
from seqx.runtime.devices import deterministic, device_of

VOCABULARY = 500
UPDATES = 30


def cases(*, dry_run: bool) -> Iterator[Case]:
    """The base model, twice with each."""
    with tempfile.TemporaryDirectory() as folder:
        pairs, tokens, overrides = (200, 500, TINY) if dry_run else (60_000, 25_000, ())
        store = corpus.store(Path(folder), pairs=pairs, vocabulary=VOCABULARY)
        for name, wanted in (("any kernels", False), ("deterministic", True)):
            yield Case(name, 10, partial(twice, store, tokens, tuple(overrides), deterministically=wanted))


def twice(
    store: Store, tokens: int, overrides: tuple[str, ...], left: float, *, deterministically: bool
) -> Figures:
    """How much the weights of two trainings are apart."""
    del left
    with deterministic(enabled=deterministically):
        one, other = (_weights(store, tokens, overrides) for _ in range(2))
    apart = [(p - q).abs().max() for p, q in zip(one, other, strict=True)]
    same = all(torch.equal(p, q) for p, q in zip(one, other, strict=True))
    return {"updates": UPDATES, "same_bits": same, "largest_difference": float(torch.stack(apart).max())}


def _weights(store: Store, tokens: int, overrides: tuple[str, ...]) -> list[Tensor]:
    """Those of the base model after some updates."""
    device, described = device_of("auto"), experiment("wmt_en_de", overrides)
    how = described.training
    torch.manual_seed(how.seed)
    step = Step(model(described, VOCABULARY), how.objective).to(device)
    with training(how, step, batches(how, store, tokens), device) as stream:
        for _ in islice(stream, UPDATES):
            pass
    return [p.detach().clone() for p in step.parameters()]
