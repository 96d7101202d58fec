"""The parts of the comparison. Each returns a record for `report`."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.arithmetic import Arithmetic
from benchmarks.gpu.recipes import experiment, model
from benchmarks.peers.environments import TOOLKITS, python
from benchmarks.peers.rounds import EQUAL_ALLOCATOR, Contestant, Request, alternate
from benchmarks.peers.sizes import SIZES, read_batches
from benchmarks.peers.workload import Workload
from seqx.runtime.precision import has_bf16

SEQX = "benchmarks.peers.adapters.seqx_adapter"
Part = Callable[[float], Mapping[str, Any]]
"""Measures until about the given time of `time.monotonic`."""

EQUAL = ", equal allocator"
"""The end of the name of a contestant with the allocator's settings that seqx makes itself."""

Allocators = Sequence[tuple[str, Mapping[str, str]]]
ALLOCATORS: Allocators = (("", {}), (EQUAL, EQUAL_ALLOCATOR))


@dataclass(frozen=True, kw_only=True)
class Setting:
    """The settings and files that all parts use.

    Args:
        environments: the folder of the toolkits' environments
        toolkits: the toolkits to compare, which are installed
        workload: text, batches and models
        model: the folder of the decoded model
        is_trained: the model ends its translations; one with random weights does not
        size: its size
        threads: number of threads of each process
        rounds: maximum number of rounds of a part
        seconds: approximate seconds of a measurement of training
    """

    environments: Path
    toolkits: Sequence[str]
    workload: Workload
    model: Path
    is_trained: bool
    size: str
    threads: int
    rounds: int
    seconds: float

    def contestants(
        self, names: Sequence[str], prepare: Request, warm: Request, allocators: Allocators = ALLOCATORS
    ) -> list[Contestant]:
        """Return seqx, and each toolkit with its default and with seqx's allocator settings."""
        found = [Contestant("seqx", Path(sys.executable), SEQX, prepare, warm)]
        for name in names:
            interpreter, adapter = python(self.environments, name), TOOLKITS[name].adapter
            for suffix, variables in allocators:
                found.append(Contestant(name + suffix, interpreter, adapter, prepare, warm, variables))
        return found


def training(setting: Setting, size: str, deadline: float) -> Mapping[str, Any]:
    """Train models of one size with bare loops: target tokens per second.

    seqx is also measured in bf16, if the CPU has units for it.
    """
    file = setting.workload.batches(size)
    prepare: dict[str, Any] = {
        "do": "prepare_training",
        "size": size,
        "vocabulary": setting.workload.vocabulary,
        "batches": str(file),
        "threads": setting.threads,
        "options": {},
    }
    warm = {"do": "train", "first": 0, "count": 1}
    names = [name for name in setting.toolkits if TOOLKITS[name].trains]
    contestants = setting.contestants(names, prepare, warm)
    if has_bf16(torch.device("cpu")):
        bf16 = {**prepare, "options": {"precision": "bf16"}}
        contestants.append(Contestant("seqx bf16", Path(sys.executable), SEQX, bf16, warm))
    count = _updates(contestants[0], setting.seconds)
    tokens = count * read_batches(file)[0].tokens

    def request(number: int) -> Request:
        return {"do": "train", "first": 1 + number * count, "count": count}

    cases = [(size, request, tokens)]
    record = alternate(contestants, cases, rounds=setting.rounds, deadline=deadline, threads=setting.threads)
    return {
        **record,
        "unit": "target tokens",
        "updates": count,
        "megaflop_per_unit": _megaflop(setting, size),
    }


def _updates(seqx: Contestant, seconds: float) -> int:
    """Return the number of updates that seqx makes in about these seconds, at least one."""
    reply = seqx.ask({"do": "train", "first": 0, "count": 1})
    return max(1, round(seconds / reply["seconds"]))


def _megaflop(setting: Setting, size: str) -> float:
    """Return the floating-point operations of training for each target token, in millions."""
    batches = read_batches(setting.workload.batches(size))
    network = model(experiment("wmt_en_de", SIZES[size].overrides), setting.workload.vocabulary)
    source, target = (
        np.concatenate([(getattr(pairs, side) != 0).sum(1) for pairs in batches])
        for side in ("source", "target")
    )
    return round(Arithmetic(network).training(source, target) / int(target.sum()) / 1e6, 1)
