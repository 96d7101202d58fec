"""Training throughput of base and big with 25,000 target tokens per update, on generated text.

The ablations are base without one optimisation each, and base with weights in bf16 and a master copy.
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from benchmarks import corpus
from benchmarks.gpu.arithmetic import Arithmetic
from benchmarks.gpu.cases import Case, Measurements
from benchmarks.gpu.recipes import TINY, batches, experiment, model, training
from seqx.data.batches import Batches
from seqx.data.ragged import Integers
from seqx.data.store import Store
from seqx.parallel.parallelism import Step
from seqx.runtime.allocator import keep_heap
from seqx.runtime.devices import deterministic, device_of
from seqx.runtime.precision import precision_of
from seqx.training.compile import compile_layers
from seqx.training.update import Update
from seqx_transformer import weights


@dataclass(frozen=True)
class Variant:
    """A recipe and the options of its training."""

    recipe: str
    compiled: bool = False
    deterministic: bool = False
    packed: bool = True
    joined: bool = True  # the weights of a layer are cast by one kernel
    overrides: tuple[str, ...] = ()


EAGER = tuple(f"model.{side}.attention.kernel=eager" for side in ("encoder", "decoder"))
BF16_WEIGHTS = ("training.precision=bf16", "training.weight_precision=bf16")
ALL = {
    "base": Variant("wmt_en_de"),
    "big": Variant("wmt_en_de_big"),
    "base deterministic": Variant("wmt_en_de", deterministic=True),
    "base without packing": Variant("wmt_en_de", packed=False),
    "base without fused attention": Variant("wmt_en_de", overrides=EAGER),
    "base without joined weights": Variant("wmt_en_de", joined=False),
    "base with small chunks of logits": Variant("wmt_en_de", overrides=("training.objective.chunk=512",)),
    "base with bf16 weights": Variant("wmt_en_de", overrides=BF16_WEIGHTS),
    "base compiled": Variant("wmt_en_de", compiled=True),
    "big compiled": Variant("wmt_en_de_big", compiled=True),
}


@dataclass(frozen=True)
class Size:
    """Sizes of the measurement."""

    pairs: int = 600_000  # more than 600 updates, for realistic length groups
    vocabulary: int = 37_000
    tokens: int = 25_000  # target tokens per update
    first: int = 20  # updates for compilation
    warm: float = 1.5  # seconds of warm-up
    measured: float = 4.0  # seconds of measurement
    overrides: tuple[str, ...] = ()
    backend: str = "inductor"
    cases: tuple[str, ...] = tuple(ALL)


DRY = Size(200, 500, 500, 2, 0.0, 0.05, TINY, "eager", tuple(name for name in ALL if name != "base compiled"))


def cases(*, dry_run: bool) -> Iterator[Case]:
    """Yield the cases: base and big, without and with compiled layers."""
    size = DRY if dry_run else Size()
    with tempfile.TemporaryDirectory() as folder:
        store = corpus.store(Path(folder), pairs=size.pairs, vocabulary=size.vocabulary)
        for name in size.cases:
            variant = ALL[name]
            needs = 0.1 if dry_run else seconds_of(name)
            yield Case(name, needs, partial(measure, variant, store, size))


def seconds_of(name: str) -> float:
    """Return the estimated time of a case on a GPU: the first updates, warm-up and measurement."""
    return Size.warm + Size.measured + (60.0 if ALL[name].compiled else 4.0)


def measure(variant: Variant, store: Store, size: Size, left: float) -> Measurements:
    """Train a model with seqx's training loop for at most `left` seconds; return the measurements."""
    joined = nullcontext() if variant.joined else mock.patch.object(weights, "_can_join", return_value=False)
    with deterministic(enabled=variant.deterministic), joined:
        return _measured(variant, store, size, left)


def _measured(variant: Variant, store: Store, size: Size, left: float) -> Measurements:
    compiled = variant.compiled
    end = time.perf_counter() + left
    device = device_of("auto")
    setup = experiment(variant.recipe, (*size.overrides, *variant.overrides))
    config = setup.training
    precision = precision_of(config.precision, device)
    if device.type == "cpu":
        keep_heap()
    torch.manual_seed(config.seed)
    built = model(setup, size.vocabulary)
    arithmetic = Arithmetic(built)
    if compiled:
        torch.compiler.reset()
        compile_layers(built, backend=size.backend)
    step = Step(built, config.objective).to(device)
    data = batches(config, store, size.tokens, packed=variant.packed)
    start_time = time.perf_counter()
    with training(config, step, data, device) as stream:
        # Shapes differ between updates, so that compilation takes several updates.
        losses = [update.loss for update in islice(stream, size.first)]
        compiling = time.perf_counter() - start_time
        list(_for(stream, size.warm))
        _wait(device)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        started = time.perf_counter()
        measured = list(_for(stream, min(size.measured, end - started - 1)))
        _wait(device)
        seconds = time.perf_counter() - started
    rows = _rows(data, measured)
    sides = [store.lengths(column)[rows] for column in ("source", "target")]
    target = sum(update.tokens for update in measured)
    assert int(sides[1].sum()) == target, "the counted examples are those of the updates"
    figures: dict[str, Any] = {
        "precision": precision,
        "compiled": compiled,
        "deterministic": variant.deterministic,
        "parameters": sum(parameter.numel() for parameter in built.parameters()),
        "updates": len(measured),
        "seconds": seconds,
        "first_updates_seconds": compiling,
        "milliseconds_per_update": 1e3 * seconds / len(measured),
        "target_tokens_per_second": target / seconds,
        "source_tokens_per_second": int(sides[0].sum()) / seconds,
        "target_tokens_per_update": target / len(measured),
        "useful_share": 1 - sum(update.padding for update in measured) / len(measured),
        "megaflop_per_target_token": arithmetic.training(*sides) / target / 1e6,
        "tflops": arithmetic.training(*sides) / seconds / 1e12,
        "first_loss": losses[0],
        "last_loss": measured[-1].loss,
    }
    if device.type == "cuda":
        figures["peak_memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
    return figures


def _for(stream: Iterator[Update], seconds: float) -> Iterator[Update]:
    """Yield updates for a number of seconds, at least one."""
    end = time.perf_counter() + seconds
    for update in stream:
        yield update
        if time.perf_counter() > end:
            return


def _rows(batches: Batches, measured: list[Update]) -> Integers:
    """Return the indices of the examples of these updates."""
    plans = {epoch: batches.plan(epoch) for epoch in {update.then.epoch for update in measured}}
    groups = (plans[update.then.epoch].example_groups(update.then.index - 1) for update in measured)
    return np.concatenate([rows for update in groups for rows in update])


def _wait(device: torch.device) -> None:
    """Wait until the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize()
