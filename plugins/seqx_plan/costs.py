"""Memory, disk, time and energy of a whole run, from a trace and the speed of a device."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

import seqx
from seqx_plan.assumed_search import ANSWER_LENGTH
from seqx_plan.devices import COMMUNICATION, KERNEL_SECONDS, UTILISATION, Gpu
from seqx_plan.probe import Probe
from seqx_plan.tracing import Trace
from seqx_plan.workload import Workload

FORWARD = 1 / 3
"""The share of the forward pass in the operations of an update."""

SEARCH_FACTOR = 2.0
"""The assumed time of a token of a search, relative to that of the forward pass of a training token."""

WRITE_RATE = 200e6
"""The assumed bytes per second that are hashed and written to disk."""

CHECKS = 2
"""The number of times that a run reads the held-out splits to check them, besides scoring them."""

CORE_WATTS = 10.0
"""The assumed power of a busy CPU core."""

_BUSY = 1.5
"""The load per core above which a probe is not reliable. A probe alone causes a load of 1."""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """The speed of one device, and the source of this number."""

    source: str
    token_seconds: float  # per padded token, forward and backward
    step_seconds: float  # per update
    row_seconds: float  # per row of a held-out split
    watts: float  # of all devices
    power_source: str


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes on one device, by kind."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    overhead: int  # of the allocator and libraries
    scoring: int  # that scoring the development set needs in addition
    process: int  # before the model is built: Python and libraries, or the CUDA context
    available: int | None  # None: unknown
    overhead_source: str

    @property
    def total(self) -> int:
        """The sum of all kinds."""
        kinds = self.weights + self.gradients + self.optimizer + self.activations
        return kinds + self.overhead + self.scoring + self.process

    @property
    def fits(self) -> bool:
        """True if the device has enough memory, as far as that is known."""
        return self.available is None or self.total <= self.available


@dataclass(frozen=True, kw_only=True)
class Duration:
    """Seconds of a run, by activity."""

    updates: float
    validations: float  # and the scores on the development and test sets at the end
    checkpoints: float
    evaluations: int  # number of times that the development set is scored

    @property
    def total(self) -> float:
        """The sum of all activities."""
        return self.updates + self.validations + self.checkpoints


def _competition_note() -> str:
    """Return a note if other programs compete for the CPUs, which makes a probe slow."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load <= _BUSY * cores:
        return ""
    return (
        f", while other programs used it (load {load:.1f} on {cores} cores): without them the run takes less "
        "time; plan again when the machine is idle"
    )


def measured_speed(
    probe: Probe, workload: Workload, device: str, sharing: int, watts: float, power_source: str
) -> Speed:
    """Return the speed that a probe has measured, divided between `sharing` processes of the device."""
    return Speed(
        source=f"probe: {probe.microbatches} pass{'es' if probe.microbatches > 1 else ''} of the recipe's "
        f"model and batches on this {device}{_competition_note()}",
        token_seconds=probe.seconds_per_token * sharing,
        step_seconds=probe.step_seconds * sharing,
        row_seconds=_row_seconds(probe.seconds_per_token, workload)
        if probe.row_seconds is None
        else probe.row_seconds,
        watts=watts,
        power_source=power_source,
    )


def published_speed(
    gpu: Gpu, name: str, devices: int, precision: str, trace: Trace, workload: Workload
) -> Speed:
    """Return the speed that is assumed for a GPU of the table."""
    rate = (gpu.bf16 if precision == "bf16" and gpu.bf16 else gpu.fp32) * 1e12
    tokens = workload.padded_tokens / max(1.0, workload.microbatches)
    products, launches = trace.flops_per_token / (rate * UTILISATION), trace.kernels * KERNEL_SECONDS / tokens
    token_seconds = max(products, launches) * (1 + COMMUNICATION * (devices > 1))
    limit = f"{rate / 1e12:,.0f} TFLOP/s in {precision}, of which {UTILISATION:.0%} are assumed to be reached"
    if launches > products:
        limit = f"{trace.kernels:,.0f} kernels in each pass, assumed to take {KERNEL_SECONDS * 1e6:g} µs each"
    traffic = 2 * (trace.weights + trace.optimizer) + trace.gradients
    return Speed(
        source=f"table of devices: {name}, {limit}; not measured",
        token_seconds=token_seconds,
        step_seconds=traffic / (gpu.bandwidth * 1e9),
        row_seconds=_row_seconds(token_seconds, workload) / devices,
        watts=gpu.watts * devices,
        power_source=f"{gpu.watts:g} W per board, its maximum",
    )


def _row_seconds(token_seconds: float, workload: Workload) -> float:
    return token_seconds * FORWARD * SEARCH_FACTOR * workload.target_length * 2 * ANSWER_LENGTH


def memory_of(
    trace: Trace,
    *,
    process: int,
    overhead: float,
    scoring: int,
    source: str,
    available: int | None,
    shards: int = 1,
) -> Memory:
    """Return the memory of one device.

    Args:
        trace: the tensors of an update
        process: bytes of the process before the model is built
        overhead: memory of the allocator and of libraries, as a share of all tensors
        scoring: measured bytes that scoring the development set needs in addition
        source: the source of the share `overhead`
        available: bytes of the device
        shards: number of devices that share weights, gradients and optimizer states
    """
    weights, gradients, optimizer = (
        size // shards for size in (trace.weights, trace.gradients, trace.optimizer)
    )
    return Memory(
        weights=weights,
        gradients=gradients,
        optimizer=optimizer,
        activations=trace.activations,
        overhead=int(overhead * (weights + gradients + optimizer + trace.activations)),
        scoring=scoring,
        process=process,
        available=available,
        overhead_source=source,
    )


def duration_of(trial: seqx.Trial, speed: Speed, workload: Workload, checkpoint_bytes: int) -> Duration:
    """Return the time of a run; the time for preparing data and for starting is not included."""
    training = trial.experiment.training
    update = workload.padded_tokens * speed.token_seconds + speed.step_seconds
    validations = -(-training.steps // training.validate_every) if workload.dev_rows else 0
    saves = -(-training.steps // training.save_every)
    evaluations = validations + bool(workload.dev_rows)
    rows = evaluations * workload.dev_rows + workload.test_rows
    reading = (evaluations + CHECKS) * workload.dev_read_seconds + (1 + CHECKS) * workload.test_read_seconds
    reading += workload.first_read_seconds
    return Duration(
        updates=training.steps * update,
        validations=rows * speed.row_seconds + reading,
        checkpoints=saves * checkpoint_bytes / WRITE_RATE,
        evaluations=evaluations,
    )


def disk_of(trial: seqx.Trial, trace: Trace, workload: Workload) -> Mapping[str, int | None]:
    """Return the bytes of checkpoints, model and prepared data; None if they are unknown."""
    training = trial.experiment.training
    model = 4 * sum(trace.parts.values())
    checkpoint = model * (2 if training.ema is not None else 1) + trace.optimizer
    kept = min(training.keep_checkpoints, -(-training.steps // training.save_every)) + 1
    return {
        "checkpoint": checkpoint,
        "checkpoints": kept * checkpoint,
        "model": model,
        "prepared data": workload.data_bytes,
    }
