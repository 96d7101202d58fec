"""Published data of GPUs, and assumptions about the speed and the memory that a run reaches."""

from collections.abc import Mapping
from dataclasses import dataclass

import seqx

UTILISATION = 0.35
"""The share of the peak rate of matrix products that training is assumed to reach."""

KERNEL_SECONDS = 5e-6
"""The time that the host is assumed to need to launch a kernel; small models wait for it."""

COMMUNICATION = 0.1
"""The assumed time in which several GPUs exchange gradients, as a share of the time of the passes."""

OVERHEAD, CONTEXT_BYTES = 0.1, 600 * 2**20
"""The assumed waste of the allocator, as a share of all tensors; the assumed bytes of the CUDA context."""

CUDA_WATTS = 400.0
"""The assumed power of a GPU of this machine. Only the GPU of --gpu is looked up in the table."""


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """The data that the vendor publishes: rates without sparsity, in 10^12 operations per second."""

    memory: float  # GB
    bandwidth: float  # of its memory, GB/s
    bf16: float | None  # rate of matrix products; None: no units for bfloat16
    fp32: float
    watts: float  # maximum power of the board


GPUS: Mapping[str, Gpu] = {
    "a10": Gpu(memory=24, bandwidth=600, bf16=125, fp32=31.2, watts=150),
    "a100": Gpu(memory=80, bandwidth=2039, bf16=312, fp32=19.5, watts=400),
    "a100-40gb": Gpu(memory=40, bandwidth=1555, bf16=312, fp32=19.5, watts=400),
    "b200": Gpu(memory=180, bandwidth=8000, bf16=2250, fp32=75, watts=1000),
    "h100": Gpu(memory=80, bandwidth=3350, bf16=989, fp32=67, watts=700),
    "h100-pcie": Gpu(memory=80, bandwidth=2000, bf16=756, fp32=51, watts=350),
    "h200": Gpu(memory=141, bandwidth=4800, bf16=989, fp32=67, watts=700),
    "l4": Gpu(memory=24, bandwidth=300, bf16=121, fp32=30.3, watts=72),
    "l40s": Gpu(memory=48, bandwidth=864, bf16=362, fp32=91.6, watts=350),
    "rtx-3090": Gpu(memory=24, bandwidth=936, bf16=71, fp32=35.6, watts=350),
    "rtx-4090": Gpu(memory=24, bandwidth=1008, bf16=165, fp32=82.6, watts=450),
    "t4": Gpu(memory=16, bandwidth=320, bf16=None, fp32=8.1, watts=70),
    "v100": Gpu(memory=32, bandwidth=900, bf16=None, fp32=15.7, watts=300),
}


def gpu_of(name: str) -> Gpu:
    """Return the data of a GPU.

    Raises:
        UserError: there is no such GPU in the table
    """
    if name.lower() not in GPUS:
        raise seqx.UserError(f"--gpu {name}: there is no such GPU in the table; use {', '.join(GPUS)}")
    return GPUS[name.lower()]
