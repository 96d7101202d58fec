"""A measurement of some updates and of a validation on this machine."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

import seqx
from seqx_plan.assumed_search import AssumedSearch
from seqx_plan.memory import PeakMemory
from seqx_plan.workload import Workload

FIRST_ROWS = 16
"""The number of rows of the first, short validation."""

MAX_RATIO = 0.7
"""The largest assumed ratio of the growth of memory in one half of a probe to that in the half before."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """The time and memory of a few updates on this machine."""

    microbatches: int  # number of measured passes
    seconds_per_token: float  # per padded token of all columns
    step_seconds: float  # clipping and the optimizer, once per update
    growths: Sequence[int]  # bytes of memory above those before the probe, after each pass; empty: unknown
    row_seconds: float | None  # per row of a held-out split; None: not measured
    scoring: int  # further bytes that the development set needs


def probe(
    trial: seqx.Trial,
    batches: Any,
    largest: Sequence[Any],
    workload: Workload,
    seconds: float,
    halvings: int = 0,
) -> Probe:
    """Compute updates for about `seconds`, and answer rows of the development set for as long.

    Args:
        trial: the recipe
        batches: its batches
        largest: the microbatches that need the most memory
        workload: the lengths of the data
        seconds: for the updates
        halvings: number of times that each microbatch is halved
    """

    def fitting(microbatch: Any) -> Any:
        for _ in range(halvings):
            microbatch = microbatch.halves()[0]
        return microbatch

    peak = PeakMemory(trial.device)
    updates = trial.updates()
    for microbatch in map(
        fitting, largest
    ):  # libraries allocate memory in the first passes; these are not measured
        updates.add_gradients(microbatch)
    updates.step()
    tokens, pass_seconds, steps = 0, 0.0, list[float]()
    growths = [peak.growth()]
    end = time.perf_counter() + seconds
    positions = torch.randperm(len(batches.plan(0))).tolist()
    while time.perf_counter() < end or not steps:
        update = seqx.update_microbatches(batches, positions[len(steps) % len(positions)])
        for microbatch in map(fitting, update):
            pass_seconds += _time(trial.device, lambda m=microbatch: updates.add_gradients(m))
            tokens += microbatch.padded_tokens
            growths.append(peak.growth())
            if time.perf_counter() >= end:
                break
        steps.append(_time(trial.device, updates.step))
    row_seconds = _validation(trial, updates, workload, seconds)
    return Probe(
        microbatches=len(growths) - 1,
        seconds_per_token=pass_seconds / tokens,
        step_seconds=sorted(steps)[len(steps) // 2],
        row_seconds=row_seconds,
        growths=[growth for growth in growths if growth is not None],
        scoring=(peak.growth() or 0) - (growths[-1] or 0),
    )


def saturated(growths: Sequence[int], passes: float) -> float:
    """Return the memory after a number of passes, from that after each of the first ones.

    On a CPU, kernels are compiled and memory is divided anew for each shape of a batch, until most shapes
    have occurred. The growth is assumed to fall in the same proportion from each half of the probe to the
    next.
    """
    middle = len(growths) // 2
    first, second = growths[middle] - growths[0], growths[-1] - growths[middle]
    ratio = min(MAX_RATIO, second / first) if first else 0.0
    halves = passes / max(1, middle)
    return growths[0] + first * (1 - ratio**halves) / (1 - ratio)


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
        return _time(trial.device, lambda: updates.evaluate(part, assumed)) / len(rows)

    first = min(FIRST_ROWS, len(split.rows))
    per_row = evaluate(first)
    return evaluate(max(first, min(len(split.rows), int(seconds / per_row))))
