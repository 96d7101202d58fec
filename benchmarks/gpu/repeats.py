"""Bitwise reproducibility of the weights, with all kernels and with deterministic kernels only."""

import tempfile
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from benchmarks import corpus
from benchmarks.gpu.cases import Case, Measurements
from benchmarks.gpu.recipes import TINY, batches, experiment, model, training
from seqx.data.store import Store
from seqx.parallel.parallelism import Step
from seqx.runtime.devices import deterministic, device_of

VOCABULARY = 500
UPDATES, DRY_UPDATES = 30, 5


def cases(*, dry_run: bool) -> Iterator[Case]:
    """Yield a case for all kernels and one for deterministic kernels."""
    with tempfile.TemporaryDirectory() as folder:
        pairs, tokens, updates = (200, 500, DRY_UPDATES) if dry_run else (60_000, 25_000, UPDATES)
        overrides = TINY if dry_run else ()
        store = corpus.store(Path(folder), pairs=pairs, vocabulary=VOCABULARY)
        for name, enabled in (("any kernels", False), ("deterministic", True)):
            yield Case(name, 10, partial(twice, store, tokens, updates, overrides, deterministically=enabled))


def twice(
    store: Store,
    tokens: int,
    updates: int,
    overrides: tuple[str, ...],
    left: float,
    *,
    deterministically: bool,
) -> Measurements:
    """Train twice; return the largest difference between the weights."""
    del left
    with deterministic(enabled=deterministically):
        first, second = (_weights(store, tokens, updates, overrides) for _ in range(2))
    differences = [(p - q).abs().max() for p, q in zip(first, second, strict=True)]
    same = all(torch.equal(p, q) for p, q in zip(first, second, strict=True))
    return {
        "updates": updates,
        "same_bits": same,
        "largest_difference": float(torch.stack(differences).max()),
    }


def _weights(store: Store, tokens: int, updates: int, overrides: tuple[str, ...]) -> list[Tensor]:
    """Return the weights of the base model after some updates."""
    device, setup = device_of("auto"), experiment("wmt_en_de", overrides)
    config = setup.training
    torch.manual_seed(config.seed)
    step = Step(model(setup, VOCABULARY), config.objective).to(device)
    with training(config, step, batches(config, store, tokens), device) as stream:
        for _ in islice(stream, updates):
            pass
    return [p.detach().clone() for p in step.parameters()]
