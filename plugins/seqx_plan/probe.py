"""A measurement of some updates and of a validation on this machine."""

import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

import seqx
from seqx_plan.assumed_search import AssumedSearch
from seqx_plan.memory import PeakMemory, allocated
from seqx_plan.workload import Shape, Workload, shape_of

FIRST_ROWS = 16
"""The number of rows of the first, short validation."""

CACHED_KERNELS = int(os.environ.get("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "1024"))
"""The number of kernels that oneDNN keeps: it compiles one for each shape of a matrix product."""

MIN_SHAPES, MAX_TIMES = 12, 4
"""A probe continues beyond its seconds until it has computed `MIN_SHAPES` shapes, for at most
`MAX_TIMES` times its seconds."""


@dataclass(frozen=True, kw_only=True)
class MemorySample:
    """The memory of the process after a pass of a probe, in bytes above that before the probe."""

    shapes: int  # microbatches with different shapes so far
    growth: int  # the maximum so far
    allocated: int  # what tensors and compiled kernels occupy now; the rest of `growth` is not in use


@dataclass(frozen=True, kw_only=True)
class Probe:
    """The time and memory of a few updates on this machine."""

    microbatches: int  # number of measured passes
    seconds_per_token: float  # per padded token of all columns
    step_seconds: float  # clipping and the optimizer, once per update
    samples: Sequence[MemorySample]  # after each pass; empty: unknown
    row_seconds: float | None  # per row of a held-out split; None: not measured
    scoring: int  # bytes that scoring the development set needs in addition


def probe(
    trial: seqx.Trial,
    batches: Any,
    largest: Sequence[Any],
    workload: Workload,
    seconds: float,
    halvings: int = 0,
) -> Probe:
    """Compute updates for about `seconds`, and decode rows of the development set for about as long.

    Args:
        trial: the recipe
        batches: its batches
        largest: the microbatches that need the most memory
        workload: the lengths of the data
        seconds: for the updates
        halvings: number of times that each microbatch is halved
    """

    def halved(microbatch: Any) -> Any:
        for _ in range(halvings):
            microbatch = microbatch.halves()[0]
        return microbatch

    peak = PeakMemory(trial.device)
    before = allocated() or 0
    shapes: set[Shape] = set()
    samples: list[MemorySample] = []

    def sample(microbatch: Any) -> None:
        shapes.add(shape_of(microbatch))
        if (growth := peak.growth()) is not None:
            in_use = (allocated() or 0) - before if trial.device.type == "cpu" else 0
            samples.append(MemorySample(shapes=len(shapes), growth=growth, allocated=in_use))

    updates = trial.updates()
    # Libraries allocate memory in the first passes, so these are not measured.
    for microbatch in map(halved, largest):
        updates.add_gradients(microbatch)
        shapes.add(shape_of(microbatch))
    updates.step()
    tokens, passes, pass_seconds, steps = 0, 0, 0.0, list[float]()
    started = time.perf_counter()

    def is_over() -> bool:
        passed = time.perf_counter() - started
        return passed >= seconds and (len(shapes) >= MIN_SHAPES or passed >= MAX_TIMES * seconds)

    positions = torch.randperm(len(batches.plan(0))).tolist()
    while not is_over() or not steps:
        update = seqx.update_microbatches(batches, positions[len(steps) % len(positions)])
        for microbatch in map(halved, update):
            pass_seconds += _time(trial.device, lambda m=microbatch: updates.add_gradients(m))
            tokens += microbatch.padded_tokens
            passes += 1
            sample(microbatch)
            if is_over():
                break
        steps.append(_time(trial.device, updates.step))
    before_scoring = peak.growth() or 0
    row_seconds = _validation(trial, updates, workload, seconds)
    return Probe(
        microbatches=passes,
        seconds_per_token=pass_seconds / tokens,
        step_seconds=sorted(steps)[len(steps) // 2],
        row_seconds=row_seconds,
        samples=samples,
        scoring=(peak.growth() or 0) - before_scoring,
    )


def extrapolated(samples: Sequence[MemorySample], shapes: int, products: float) -> float:
    """Return the memory of a run with many shapes, extrapolated from the samples of the probe.

    On a CPU, two things grow with the number of shapes: compiled kernels, until their cache is full, and
    fragments of memory that no other shape can use. Until the cache is full, both are extrapolated in
    proportion to the number of shapes, because kernels are allocated between the fragments. Then a new shape
    needs more memory only if no fragment is large enough. The probability of this is inversely
    proportional to the number of shapes, so the fragments grow with its logarithm.

    Args:
        samples: the memory after each pass of the probe
        shapes: the number of shapes in the run
        products: matrix products with different shapes, for each shape of a microbatch
    """
    last = samples[-1]
    half = max(
        (each for each in samples if 2 * each.shapes <= last.shapes),
        key=lambda s: s.shapes,
        default=samples[0],
    )
    more = last.shapes - half.shapes
    if more <= 0 or shapes <= last.shapes:
        return last.growth
    kernels = max(0, last.allocated - half.allocated) / more  # per shape
    fragments = max(0, last.growth - half.growth - kernels * more) / more
    full = min(float(shapes), CACHED_KERNELS / max(1.0, products))
    base = max(float(last.shapes), full)
    linear = (kernels + fragments) * max(0.0, full - last.shapes)
    return last.growth + linear + fragments * base / 2 * math.log2(shapes / base)


def _time(device: torch.device, function: Any) -> float:
    started = time.perf_counter()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def _validation(
    trial: seqx.Trial, updates: seqx.TrialUpdates, workload: Workload, seconds: float
) -> float | None:
    """Return the seconds for each row of the development set, with answers of the assumed lengths."""
    task = trial.experiment.task
    if trial.is_assumed or "dev" not in task.available:
        return None
    search = trial.experiment.search
    assumed = None if search is None else AssumedSearch(search, workload.target_ratio)
    split = task.read_split("dev")

    def evaluate(count: int) -> float:
        rows = split.rows[:: max(1, len(split.rows) // count)][:count]
        references = [each[:: max(1, len(split.rows) // count)][:count] for each in split.more_references]
        part = seqx.Split(split.name, rows, references)
        before = 0.0 if assumed is None else assumed.missing_seconds
        seconds = _time(trial.device, lambda: updates.evaluate(part, assumed))
        missing = 0.0 if assumed is None else assumed.missing_seconds - before
        return (seconds + missing) / len(rows)

    first = min(FIRST_ROWS, len(split.rows))
    per_row = evaluate(first)
    return evaluate(max(first, min(len(split.rows), int(seconds / per_row))))
