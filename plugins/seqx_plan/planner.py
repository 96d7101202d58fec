"""The plan of a recipe: what a run needs, on this machine or on GPUs of the table."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch

import seqx
from seqx_plan import memory, workload
from seqx_plan.costs import (
    CORE_WATTS,
    Duration,
    Memory,
    Speed,
    disk_of,
    duration_of,
    measured_speed,
    memory_of,
    published_speed,
)
from seqx_plan.devices import CONTEXT_BYTES, CUDA_WATTS, OVERHEAD, gpu_of
from seqx_plan.probe import Probe, extrapolated, probe
from seqx_plan.tracing import Trace, trace
from seqx_plan.workload import Workload

BUDGET_SETTINGS = ("validate_every", "save_every", "keep_checkpoints", "schedule")
"""The settings of training from which a proposal for a budget is computed."""

MAX_HALVINGS = 6
"""The maximum number of times that the microbatches of a probe are halved if they do not fit into memory."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """The devices of the run, and how they are measured."""

    device: torch.device  # of this machine, for the probe
    gpu: str | None = None  # a GPU of the table; None: this machine
    devices: int = 1
    seconds: float = 4.0  # of the probe
    assumed_length: int | None = None  # mean tokens of assumed examples; None: read the text


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The predicted needs of a run: memory, disk, time and energy."""

    recipe: str
    parameters: Mapping[str, int]  # by part of the model
    precision: str
    steps: int
    devices: int
    epochs: float | None
    flops_per_update: float
    tokens_per_second: float  # target tokens
    workload: Workload
    memory: Memory
    disk: Mapping[str, int | None]
    speed: Speed
    duration: Duration
    kilowatt_hours: float
    is_sharded: bool  # devices share weights, gradients and optimizer states
    warning: str | None  # about the schedule, as `seqx check` prints it
    microbatch: int = 0  # the most padded tokens of a microbatch, as training.microbatch counts them
    settings: Mapping[str, Any] = field(default_factory=dict)  # of training, which a budget changes

    def as_json(self) -> Mapping[str, Any]:
        """Return plain values, with totals."""
        plain = asdict(self)
        plain["parameters"] = {**self.parameters, "total": sum(self.parameters.values())}
        plain["memory"] |= {"total": self.memory.total, "fits": self.memory.fits}
        plain["duration"] |= {"total": self.duration.total}
        return plain


class Planner:
    """The measurements of one recipe, from which plans with changed settings are computed quickly.

    Args:
        argument: the file or the name of the recipe
        profile: its profile
        overrides: settings as KEY=VALUE
        target: the devices
    """

    def __init__(self, argument: str, profile: str | None, overrides: Sequence[str], target: Target) -> None:
        self.argument, self.profile, self.overrides, self.target = argument, profile, [*overrides], target
        self.gpu = None if target.gpu is None else gpu_of(target.gpu)
        self._probe: Probe | None = None  # of the first plan
        self._trace: Trace | None = None  # of the plan without changes
        self._overhead = OVERHEAD
        self._process = CONTEXT_BYTES

    def plan(self, changes: Sequence[str] = (), *, same_updates: bool = False) -> Plan:
        """Return the plan of the recipe with further overrides.

        Args:
            changes: the overrides
            same_updates: each update is computed as without the changes, so it need not be traced again

        Raises:
            UserError: the recipe has problems
        """
        checked = seqx.load_checked(self.argument, self.profile, [*self.overrides, *changes])
        with tempfile.TemporaryDirectory() as folder:
            trial = seqx.Trial(checked, Path(folder) / "run", self.target.device)
            source = workload.read(trial, self.target.assumed_length, announce=not changes)
            batches = trial.batches(
                self.target.device if self.gpu is None else torch.device("cuda"), self.target.devices
            )
            work = workload.measure(trial, batches, source)
            precision = self._precision(trial)
            largest, typical = workload.largest_and_typical(batches)
            traced = self._trace if same_updates else None
            if traced is None:
                traced = trace(trial, precision, largest, typical, accumulates=work.microbatches > 1)
            if not changes:
                self._trace = traced
            if self.gpu is None and self._probe is None:
                self._measure(trial, batches, largest, work, traced)
            plan = self._result(trial, traced, work, precision)
            settings = checked.configured.plain()["training"]
            sizes = [max(each.layout.keep.numel() for each in m.batch.columns.values()) for m in largest]
            return replace(
                plan,
                microbatch=max(sizes),
                settings={name: settings[name] for name in BUDGET_SETTINGS},
            )

    def _precision(self, trial: seqx.Trial) -> Literal["bf16", "fp32"]:
        """Return the precision of matrix products on the devices."""
        if self.gpu is None:
            return trial.precision
        wanted = trial.experiment.training.precision
        if wanted == "bf16" and self.gpu.bf16 is None:
            raise seqx.UserError(
                f"training.precision: bf16 needs units for bfloat16, which the GPU {self.target.gpu} does "
                "not have; set training.precision=fp32"
            )
        return "fp32" if wanted == "fp32" or self.gpu.bf16 is None else "bf16"

    def _measure(
        self, trial: seqx.Trial, batches: Any, largest: Sequence[Any], work: Workload, traced: Trace
    ) -> None:
        """Probe the recipe, with smaller microbatches if the largest ones do not fit."""
        self._process = memory.PeakMemory(self.target.device).start or 0
        needed, available = self._memory(trial, traced).total, self._available()
        halvings = 0
        while available is not None and needed > available and halvings < MAX_HALVINGS:
            needed, halvings = needed // 2, halvings + 1
        self._probe = probe(trial, batches, largest, work, self.target.seconds, halvings)
        tensors = traced.weights + traced.gradients + traced.optimizer + traced.activations
        if self._probe.samples and not halvings:
            shapes = workload.count_shapes(batches, trial.experiment.training.steps)
            grown = extrapolated(self._probe.samples, shapes, traced.products)
            self._overhead = max(0.0, grown / tensors - 1)

    def _memory(self, trial: seqx.Trial, traced: Trace) -> Memory:
        """Return the memory of one device."""
        measured = self.gpu is None and self._probe is not None and bool(self._probe.samples)
        return memory_of(
            traced,
            process=self._process,
            overhead=self._overhead,
            scoring=0 if self._probe is None else self._probe.scoring,
            source="probe, extrapolated to all shapes of batches"
            if measured
            else f"assumed: {OVERHEAD:.0%} of all tensors",
            available=int(self.gpu.memory * 1e9) if self.gpu else self._available(),
            shards=self._shards(trial),
        )

    def _available(self) -> int | None:
        """Return the bytes of memory of this machine for each process; None if they are unknown."""
        found = memory.available(self.target.device)
        return None if found is None else found // self._sharing

    def _shards(self, trial: seqx.Trial) -> int:
        """Return the number of devices that share weights, gradients and optimizer states."""
        parallel = trial.experiment.training.parallel
        return self.target.devices if parallel is not None and parallel.shards_parameters else 1

    def _speed(self, traced: Trace, work: Workload, precision: str) -> Speed:
        """Return the speed of one device."""
        devices = self.target.devices
        if self.gpu is not None:
            return published_speed(self.gpu, str(self.target.gpu), devices, precision, traced, work)
        assert self._probe is not None, "the recipe was probed"
        threads, device = memory.num_threads(), "CPU"
        watts, source = CORE_WATTS * threads, f"assumed: {CORE_WATTS:g} W per CPU thread, {threads} in use"
        if self.target.device.type == "cuda":
            device = torch.cuda.get_device_name(self.target.device)
            watts, source = CUDA_WATTS * devices, f"assumed: {CUDA_WATTS:g} W per GPU"
        return measured_speed(self._probe, work, device, self._sharing, watts, source)

    @property
    def _sharing(self) -> int:
        """The number of processes that share the cores and the memory of this machine."""
        return self.target.devices if self.gpu is None and self.target.device.type == "cpu" else 1

    def _result(self, trial: seqx.Trial, traced: Trace, work: Workload, precision: str) -> Plan:
        training, devices = trial.experiment.training, self.target.devices
        speed, disk = self._speed(traced, work, precision), disk_of(trial, traced, work)
        duration = duration_of(trial, speed, work, disk["checkpoint"] or 0)
        return Plan(
            recipe=self.argument,
            parameters=traced.parts,
            precision=precision,
            steps=training.steps,
            devices=devices,
            epochs=training.steps / work.updates_per_epoch if work.updates_per_epoch else None,
            flops_per_update=traced.flops_per_token * work.padded_tokens * devices,
            tokens_per_second=training.steps * work.target_tokens / duration.updates,
            workload=work,
            memory=self._memory(trial, traced),
            disk=disk,
            speed=speed,
            duration=duration,
            kilowatt_hours=speed.watts * duration.total / 3.6e6,
            is_sharded=self._shards(trial) > 1,
            warning=training.schedule_warning(),
        )
