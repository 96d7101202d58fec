"""Device, versions, and the speed of matrix products and copies."""

import itertools
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from benchmarks.gpu.cases import Case, Measurements
from seqx.runtime.devices import device_of


def cases(*, dry_run: bool) -> Iterator[Case]:
    """Yield the cases: description, matrix products, copy."""
    size, repeats = (256, 3) if dry_run else (8192, 20)
    yield Case("device", 0, lambda _: about())
    yield Case("matmul bf16", 1, lambda _: matmul(size, torch.bfloat16, repeats))
    yield Case("matmul fp32", 1, lambda _: matmul(size, torch.float32, max(3, repeats // 4)))
    yield Case("copy", 1, lambda _: copy(1 << (22 if dry_run else 32), repeats))


def about() -> Measurements:
    """Return the device and the versions."""
    cuda = torch.cuda.is_available()
    figures: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if cuda else platform.processor() or platform.machine(),
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "platform": platform.platform(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
    }
    if cuda:
        properties = torch.cuda.get_device_properties(0)
        figures |= {
            "memory_gib": round(properties.total_memory / 2**30, 1),
            "multiprocessors": properties.multi_processor_count,
            "capability": list(torch.cuda.get_device_capability()),
        }
    return figures


def matmul(size: int, dtype: torch.dtype, repeats: int) -> Measurements:
    """Measure the speed of products of square matrices of random numbers."""
    device = device_of("auto")
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    seconds = median(lambda: torch.mm(a, b), repeats)
    return {"size": size, "seconds": seconds, "tflops": 2 * size**3 / seconds / 1e12}


def copy(size: int, repeats: int) -> Measurements:
    """Measure the speed of a copy in device memory, in bytes read plus bytes written."""
    source = torch.empty(size, dtype=torch.uint8, device=device_of("auto")).random_(0, 256)
    target = torch.empty_like(source)
    seconds = median(lambda: target.copy_(source), repeats)
    return {"bytes": size, "seconds": seconds, "terabytes_per_second": 2 * size / seconds / 1e12}


def median(work: Callable[[], object], repeats: int) -> float:
    """Return the median time of a call in seconds, after three calls for warm-up."""
    for _ in range(3):
        work()
    if not torch.cuda.is_available():
        return statistics.median(_seconds(work) for _ in range(repeats))
    events = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]  # type: ignore[no-untyped-call]
    events[0].record()
    for event in events[1:]:
        work()
        event.record()
    torch.cuda.synchronize()
    spans = (a.elapsed_time(b) for a, b in itertools.pairwise(events))
    return statistics.median(spans) / 1e3


def _seconds(work: Callable[[], object]) -> float:
    start_time = time.perf_counter()
    work()
    return time.perf_counter() - start_time
