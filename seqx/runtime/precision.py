"""The number formats of matrix products, and the devices that support them."""

import functools
import os
from typing import Literal, get_args

import torch

from seqx.errors import UserError

Precision = Literal["auto", "bf16", "fp32"]
ComputePrecision = Literal["bf16", "fp32", "int8"]
InferencePrecision = Literal["auto", "bf16", "fp32", "int8"]

_WITHOUT_BF16 = {"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI"}
"""Values of ONEDNN_MAX_CPU_ISA that exclude the instructions for bfloat16."""


@functools.cache
def has_bf16(device: torch.device) -> bool:
    """Return true if the device has units for bfloat16, which multiply faster than in float32.

    GPUs have them since Ampere, CPUs with AMX or AVX-512 BF16. Without them, bfloat16 is many times
    slower than float32 on a CPU, or not supported.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # torch has no other API for this. Environment variables can forbid torch and oneDNN to use the units.
    units = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()  # noqa: SLF001
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or ""
    return (
        units
        and torch.ops.mkldnn._is_mkldnn_bf16_supported()  # noqa: SLF001
        and limit.upper() not in _WITHOUT_BF16
        and torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    )


def precision_of(name: Precision, device: torch.device) -> Literal["bf16", "fp32"]:
    """Return the number format of a name; "auto" is bf16 if the device has units for it, else fp32.

    Raises:
        UserError: there is no number format of this name
    """
    if name not in get_args(Precision):
        raise UserError(
            f"precision {name!r}: there is no such format; write {', '.join(get_args(Precision))}"
        )
    if name == "auto":
        return "bf16" if has_bf16(device) else "fp32"
    return name


def compute_precision(name: InferencePrecision, device: torch.device) -> ComputePrecision:
    """Return the number format of a name for inference, see `precision_of`.

    Raises:
        UserError: there is no number format of this name, or the device does not support int8
    """
    if name == "int8":
        if device.type != "cpu":
            raise UserError(f"precision int8: only CPUs compute in int8, not {device}; write auto or bf16")
        if not has_int8():
            raise UserError("precision int8: PyTorch has no int8 kernels for this CPU; write auto or fp32")
        return name
    if name not in get_args(InferencePrecision):
        formats = ", ".join(get_args(InferencePrecision))
        raise UserError(f"precision {name!r}: there is no such format; write {formats}")
    return precision_of(name, device)


def has_onednn() -> bool:
    """Return true if PyTorch computes matrix products by oneDNN on this CPU (x86 with AVX2)."""
    return torch._C._has_mkldnn and torch.cpu._is_avx2_supported()  # noqa: SLF001


@functools.cache
def has_int8() -> bool:
    """Return true if PyTorch has kernels for matrix products in int8 on this CPU (x86 with AVX2)."""
    return "fbgemm" in torch.backends.quantized.supported_engines and torch.cpu._is_avx2_supported()  # noqa: SLF001
