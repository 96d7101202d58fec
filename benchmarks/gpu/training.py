"""Training throughput of base and big, at 25k + 25k tokens an update on generated text of WMT's lengths."""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import corpus
from benchmarks.gpu.arithmetic import Arithmetic
from benchmarks.gpu.cases import Case, Figures
from benchmarks.gpu.recipes import TINY, batches, experiment, model, training
from seqx.data.batches import Batches
from seqx.data.store import Integers, Store
from seqx.parallel.step import Step
from seqx.runtime.allocator import keep_heap
from seqx.runtime.devices import deterministic, device_of, precision_of
from seqx.training.compile import compile_layers
from seqx.training.update import Update


@dataclass(frozen=True)
class How:
    """A recipe, and how it is trained."""

    recipe: str
    compiled: bool = False
    deterministic: bool = False


ALL = {
    "base": How("wmt_en_de"),
    "base compiled": How("wmt_en_de", compiled=True),
    "base deterministic": How("wmt_en_de", deterministic=True),
    "big": How("wmt_en_de_big"),
    "big compiled": How("wmt_en_de_big", compiled=True),
}


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    pairs: int = 600_000  # over 600 updates, so that lengths are sorted as in a real epoch
    vocabulary: int = 37_000
    tokens: int = 25_000  # target tokens of an update
    first: int = 20  # updates in which layers are compiled
    warm: float = 3.0  # seconds of updates that do not count
    measured: float = 8.0  # seconds that do
    overrides: tuple[str, ...] = ()
    backend: str = "inductor"
    cases: tuple[str, ...] = tuple(ALL)


DRY = Size(200, 500, 500, 3, 0.1, 0.3, TINY, "aot_eager", ("base", "base deterministic", "big compiled"))


def cases(*, dry_run: bool) -> Iterator[Case]:
    """Base and big, without and with compiled layers; peaks of memory are each case's own."""
    size = DRY if dry_run else Size()
    with tempfile.TemporaryDirectory() as folder:
        store = corpus.store(Path(folder), pairs=size.pairs, vocabulary=size.vocabulary)
        for name in size.cases:
            how = ALL[name]
            needs = size.warm + size.measured + (60 if how.compiled and not dry_run else 5)
            yield Case(name, needs, partial(measure, how, store, size))


def measure(asked: How, store: Store, size: Size, left: float) -> Figures:
    """Figures of one model, trained by seqx's own loop for at most `left` seconds."""
    with deterministic(enabled=asked.deterministic):
        return _measured(asked, store, size, left)


def _measured(asked: How, store: Store, size: Size, left: float) -> Figures:
    compiled = asked.compiled
    end = time.perf_counter() + left
    device = device_of("auto")
    described = experiment(asked.recipe, size.overrides)
    how = described.training
    precision = precision_of(how.precision, device)
    if device.type == "cpu":
        keep_heap()
    torch.manual_seed(how.seed)
    built = model(described, size.vocabulary)
    arithmetic = Arithmetic(built)
    if compiled:
        torch.compiler.reset()
        compile_layers(built, backend=size.backend)
    step = Step(built, how.objective).to(device)
    made = batches(how, store, size.tokens)
    began = time.perf_counter()
    with training(how, step, made, device) as stream:
        # Shapes differ from update to update: some go by before all that is compiled is.
        losses = [update.loss for update in islice(stream, size.first)]
        compiling = time.perf_counter() - began
        list(_for(stream, size.warm))
        _wait(device)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        started = time.perf_counter()
        seen = list(_for(stream, min(size.measured, end - started - 1)))
        _wait(device)
        seconds = time.perf_counter() - started
    rows = _rows(made, seen)
    sides = [store.lengths(column)[rows] for column in ("source", "target")]
    target = sum(update.tokens for update in seen)
    assert int(sides[1].sum()) == target, "what was counted is what was trained on"
    figures: dict[str, Any] = {
        "precision": precision,
        "compiled": compiled,
        "deterministic": asked.deterministic,
        "parameters": sum(parameter.numel() for parameter in built.parameters()),
        "updates": len(seen),
        "seconds": seconds,
        "first_updates_seconds": compiling,
        "milliseconds_per_update": 1e3 * seconds / len(seen),
        "target_tokens_per_second": target / seconds,
        "source_tokens_per_second": int(sides[0].sum()) / seconds,
        "target_tokens_per_update": target / len(seen),
        "useful_share": 1 - sum(update.padding for update in seen) / len(seen),
        "megaflop_per_target_token": arithmetic.training(*sides) / target / 1e6,
        "tflops": arithmetic.training(*sides) / seconds / 1e12,
        "first_loss": losses[0],
        "last_loss": seen[-1].loss,
    }
    if device.type == "cuda":
        figures["peak_memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
    return figures


def _for(stream: Iterator[Update], seconds: float) -> Iterator[Update]:
    """The next updates, until so many seconds have gone by; at least one."""
    end = time.perf_counter() + seconds
    for update in stream:
        yield update
        if time.perf_counter() > end:
            return


def _rows(batches: Batches, seen: list[Update]) -> Integers:
    """The examples that these updates learnt from."""
    plans = {epoch: batches.plan(epoch) for epoch in {update.then.epoch for update in seen}}
    groups = (plans[update.then.epoch].rows(update.then.index - 1) for update in seen)
    return np.concatenate([rows for update in groups for rows in update])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
