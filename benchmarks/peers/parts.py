"""The parts of the comparison. Each returns a record for `report`."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
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
    contestants = bare_loops(setting, size, [name for name in setting.toolkits if TOOLKITS[name].trains])
    if has_bf16(torch.device("cpu")):
        options = {**contestants[0].prepare["options"], "precision": "bf16"}
        prepare = {**contestants[0].prepare, "options": options}
        contestants.append(replace(contestants[0], name="seqx bf16", prepare=prepare))
    request, count = updates_of_round(contestants[0], setting.seconds)
    tokens = count * read_batches(setting.workload.batches(size))[0].tokens
    cases = [(size, request, tokens)]
    record = alternate(contestants, cases, rounds=setting.rounds, deadline=deadline, threads=setting.threads)
    return {
        **record,
        "unit": "target tokens",
        "updates": count,
        "megaflop_per_unit": _megaflop(setting, size),
    }


def bare_loops(setting: Setting, size: str, toolkits: Sequence[str]) -> list[Contestant]:
    """Return the bare training loops of seqx and of toolkits, all on the same batches."""
    prepare: dict[str, Any] = {
        "do": "prepare_training",
        "size": size,
        "vocabulary": setting.workload.vocabulary,
        "batches": str(setting.workload.batches(size)),
        "threads": setting.threads,
        "options": {},
    }
    return setting.contestants(toolkits, prepare, {"do": "train", "first": 0, "count": 1})


def updates_of_round(loop: Contestant, seconds: float) -> tuple[Callable[[int], Request], int]:
    """Return a function from the number of a round to its request, and the number of updates in a round.

    A round has as many updates as the bare loop makes in about `seconds`, but at least one.
    """
    reply = loop.ask({"do": "train", "first": 0, "count": 1})
    count = max(1, round(seconds / reply["seconds"]))
    return lambda number: {"do": "train", "first": 1 + number * count, "count": count}, count


def _megaflop(setting: Setting, size: str) -> float:
    """Return the floating-point operations of training for each target token, in millions."""
    batches = read_batches(setting.workload.batches(size))
    network = model(experiment("wmt_en_de", SIZES[size].overrides), setting.workload.vocabulary)
    source, target = (
        np.concatenate([(getattr(pairs, side) != 0).sum(1) for pairs in batches])
        for side in ("source", "target")
    )
    return round(Arithmetic(network).training(source, target) / int(target.sum()) / 1e6, 1)
