"""Compute float32 matrix products with the faster of torch's two libraries.

On x86, torch multiplies float32 matrices with Intel's MKL, which does not use the AVX-512 units of AMD's
CPUs. oneDNN uses these units, but torch uses it only for other number formats. On Zen 5, oneDNN takes about
half the time (`python -m benchmarks.matrix_products`). On Zen 4, whose units compute 256 bits at once, it is
faster by a tenth, unless the first matrix has to be copied and the second has fewer than 1,024 columns.
"""

import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor, library

SMALLEST = 1 << 20
"""Number of multiplications from which oneDNN is faster, although each of its calls takes 10 microseconds."""


COPY_FROM = 1024
"""On Zen 4, the number of columns of the second matrix from which oneDNN is faster in spite of a copy."""


def fast_products(device: torch.device, precision: Literal["bf16", "fp32"]) -> AbstractContextManager[None]:
    """Return a context in which float32 matrices are multiplied as fast as possible.

    Args:
        device: the device of the model
        precision: the precision of matrix products; with bf16, hardly any product is in float32
    """
    if device.type == "cpu" and precision == "fp32" and onednn_is_faster():
        return OneDNNProducts(copy_from=0 if _has_wide_units() else COPY_FROM)
    return nullcontext()


def onednn_is_faster() -> bool:
    """Return true if oneDNN multiplies float32 matrices faster than torch's default library on this CPU."""
    cpu = _cpu()
    is_amd = str(cpu.get("cpu_name", "")).startswith("AMD")
    return is_amd and bool(cpu.get("avx512_f")) and torch._C.has_mkl and torch._C._has_mkldnn  # noqa: SLF001


def _has_wide_units() -> bool:
    """Return true if the units of an AMD CPU compute 512 bits at once, as since Zen 5."""
    return bool(_cpu().get("avx512_vp2intersect"))  # which Zen 4 lacks


def _cpu() -> Mapping[str, object]:
    """Return what torch knows about the CPU; older versions know nothing."""
    return getattr(torch.cpu, "get_capabilities", dict)()


class OneDNNProducts:
    """A context in which oneDNN multiplies float32 matrices, in all threads and in backward passes, too.

    Args:
        copy_from: number of columns of the second matrix from which oneDNN is used even if the first one has
            to be copied, because it is not contiguous. The first matrix is transposed in the product that
            computes the gradient of a weight.
    """

    def __init__(self, *, copy_from: int) -> None:
        self._copy_from = copy_from

    def __enter__(self) -> None:
        self._kernels = library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Warning only once for all operators")
            for name, kernel in (("mm", self._mm), ("addmm", self._addmm)):
                self._kernels.impl(name, kernel, "CPU")  # type: ignore[no-untyped-call]

    def __exit__(self, *_: object) -> None:
        # torch then uses its own kernels again.
        self._kernels._destroy()  # type: ignore[no-untyped-call]  # noqa: SLF001

    def _mm(self, a: Tensor, b: Tensor) -> Tensor:
        if self._is_fast(a, b):
            return _onednn(a, b, None)
        # With `out`, torch calls another operator, whose kernel is not replaced.
        return torch.mm(a, b, out=a.new_empty(0))

    def _addmm(self, bias: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
        is_usual = beta == alpha == 1 and bias.shape == b.shape[1:] and bias.dtype == a.dtype
        if is_usual and self._is_fast(a, b):
            return _onednn(a, b, bias)
        return torch.addmm(bias, a, b, beta=beta, alpha=alpha, out=a.new_empty(0))

    def _is_fast(self, a: Tensor, b: Tensor) -> bool:
        return _is_large(a, b) and (a.is_contiguous() or b.size(1) >= self._copy_from)


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
