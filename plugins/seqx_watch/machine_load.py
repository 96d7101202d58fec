"""The load of the machine, from Linux's /proc and control groups: the causes that slow a process down."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import torch

import seqx

_PROC = Path("/proc")
_CPU_LIMIT = Path("/sys/fs/cgroup/cpu.stat")
_TICKS = os.sysconf("SC_CLK_TCK")
_SHOWN = 3  # processes that a message names


@dataclass(frozen=True, kw_only=True)
class Process:
    """A process: its name, its parent, and the seconds of CPU time that it has used."""

    name: str
    parent: int
    seconds: float
    page_faults: int  # that waited for the disk


@dataclass(frozen=True, kw_only=True)
class Load:
    """Counters of the load of the machine: what each process has used since it was started."""

    time: float = field(default_factory=monotonic)
    processes: Mapping[int, Process]
    throttled: float  # seconds for which the CPU limit of a container stopped its processes

    @classmethod
    def read(cls) -> "Load":
        """Read the load. Without /proc, no process is known."""
        return cls(processes=dict(_processes()), throttled=_throttled_seconds())


def _processes() -> Iterator[tuple[int, Process]]:
    for folder in _PROC.glob("[0-9]*"):
        try:
            text = (folder / "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue  # the process has ended
        name, _, rest = text.partition(" (")[2].rpartition(") ")  # a name may contain brackets and spaces
        values = rest.split()
        yield (
            int(folder.name),
            Process(
                name="".join(char if char.isprintable() else " " for char in name),
                parent=int(values[1]),
                seconds=(int(values[11]) + int(values[12])) / _TICKS,
                page_faults=int(values[9]),
            ),
        )


def _throttled_seconds() -> float:
    try:
        values = dict(line.split() for line in _CPU_LIMIT.read_text(encoding="ascii").splitlines())
        return int(values["throttled_usec"]) / 1e6
    except (OSError, KeyError, ValueError):
        return 0.0


def reason(before: Load, now: Load, device: str) -> str:
    """Return the likely reason why this process was slow between two readings."""
    return next(_reasons(before, now, device))


def _reasons(before: Load, now: Load, device: str) -> Iterator[str]:
    """Yield the possible reasons, the most certain ones first."""
    seconds, cpus, threads = now.time - before.time, seqx.cpus(), torch.get_num_threads()
    throttled = (now.throttled - before.throttled) / seconds
    if throttled > 0.2:
        yield f"a CPU limit stopped threads for {throttled:.1f} s per second; raise it, or lower --threads"
    both = now.processes.keys() & before.processes.keys()
    used = {pid: (now.processes[pid].seconds - before.processes[pid].seconds) / seconds for pid in both}
    own = _descendants(now.processes) & both
    others = {pid: share for pid, share in used.items() if pid not in own}
    if sum(others.values()) > max(0.5, 0.25 * cpus):
        largest = sorted(others, key=others.__getitem__, reverse=True)[:_SHOWN]
        names = ", ".join(
            f"{now.processes[pid].name} ({pid}) {others[pid]:.1f}" for pid in largest if others[pid] > 0
        )
        yield (
            f"other processes use {sum(others.values()):.1f} of {os.cpu_count()} CPUs: {names}; stop them, "
            "or wait"
        )
    if threads > cpus:
        yield f"{threads} threads share {cpus} CPUs; resume the run with --threads {cpus}"
    faults = sum(now.processes[pid].page_faults - before.processes[pid].page_faults for pid in own)
    if faults / seconds > 20:
        yield (
            f"memory: {faults / seconds:.0f} page faults per second wait for the disk; stop other programs, "
            "or set a smaller training.microbatch"
        )
    if own and sum(used[pid] for pid in own) < 0.5 and device == "cpu":
        yield "the process computed less than half of the time; it may wait for a disk or a network"
    if device.startswith("cuda"):
        yield "no cause was found on the CPUs; nvidia-smi shows other processes on the GPU, and its clock"
    yield "no cause was found; the clock of the CPUs may be lower, because of heat or to save power"


def _descendants(processes: Mapping[int, Process]) -> set[int]:
    """Return this process and those that it has started."""
    own = {os.getpid()}
    while new := {pid for pid, process in processes.items() if process.parent in own} - own:
        own |= new
    return own
