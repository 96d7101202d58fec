"""Compute float32 matrix products with the faster of torch's two libraries.

On x86, torch multiplies float32 matrices with Intel's MKL, which does not use the AVX-512 units of AMD's
CPUs. oneDNN uses these units, and takes about half the time on these CPUs (`python -m
benchmarks.matrix_products`), but torch uses it only for other number formats.
"""

import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor, library

SMALLEST = 1 << 20
"""Number of multiplications from which oneDNN is faster, although each of its calls takes 10 microseconds."""


def fast_products(device: torch.device, precision: Literal["bf16", "fp32"]) -> AbstractContextManager[None]:
    """Return a context in which float32 matrices are multiplied as fast as possible.

    Args:
        device: the device of the model
        precision: the precision of matrix products; with bf16, hardly any product is in float32
    """
    if device.type == "cpu" and precision == "fp32" and onednn_is_faster():
        return OneDNNProducts()
    return nullcontext()


def onednn_is_faster() -> bool:
    """Return true if oneDNN multiplies float32 matrices faster than torch's default library on this CPU."""
    cpu: Mapping[str, object] = getattr(
        torch.cpu, "get_capabilities", dict
    )()  # older versions of torch lack it
    is_amd = str(cpu.get("cpu_name", "")).startswith("AMD")
    return is_amd and bool(cpu.get("avx512_f")) and torch._C.has_mkl and torch._C._has_mkldnn  # noqa: SLF001


class OneDNNProducts:
    """A context in which oneDNN multiplies float32 matrices, in all threads and in backward passes, too."""

    def __enter__(self) -> None:
        self._kernels = library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Warning only once for all operators")
            for name, kernel in (("mm", _mm), ("addmm", _addmm)):
                self._kernels.impl(name, kernel, "CPU")  # type: ignore[no-untyped-call]

    def __exit__(self, *_: object) -> None:
        # torch then uses its own kernels again.
        self._kernels._destroy()  # type: ignore[no-untyped-call]  # noqa: SLF001


def _mm(a: Tensor, b: Tensor) -> Tensor:
    if _is_large(a, b):
        return _onednn(a, b, None)
    # With `out`, torch calls another operator, whose kernel is not replaced.
    return torch.mm(a, b, out=a.new_empty(0))


def _addmm(bias: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    if beta == alpha == 1 and bias.shape == b.shape[1:] and bias.dtype == a.dtype and _is_large(a, b):
        return _onednn(a, b, bias)
    return torch.addmm(bias, a, b, beta=beta, alpha=alpha, out=a.new_empty(0))


def _is_large(a: Tensor, b: Tensor) -> bool:
    """Return true for float32 matrices [N, I], [I, O] that oneDNN multiplies faster."""
    if not a.dtype == b.dtype == torch.float32 or not a.dim() == b.dim() == 2:
        return False
    rows, inner = a.shape
    return inner == b.size(0) and rows * inner * b.size(1) >= SMALLEST


def _onednn(a: Tensor, b: Tensor, bias: Tensor | None) -> Tensor:
    if bias is not None:
        bias = bias.contiguous()  # torch passes only its address to oneDNN, not its stride
    return torch.ops.mkldnn._linear_pointwise(a, b.t(), bias, "none", [], "")  # noqa: SLF001
