"""Select the device; compute in a number format; handle out-of-memory errors; use deterministic kernels."""

import contextlib
import logging
import os
import re
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TypeVar

import torch
from torch import Tensor

from seqx.errors import UserError
from seqx.runtime.precision import ComputePrecision

T = TypeVar("T")

log = logging.getLogger("seqx.runtime")


def device_of(name: str) -> torch.device:
    """Return the device of a name ("auto", "cpu", "cuda", "cuda:1", ...), and configure torch for it.

    Raises:
        UserError: this machine has no such device
    """
    device = _parsed(name)
    if device.type == "cuda":
        # On Hopper GPUs torch prefers cuDNN's attention kernel, which takes about a second to
        # compile a plan for each new shape, and nearly every update and decoding step has a new shape.
        torch.backends.cuda.enable_cudnn_sdp(False)
        if not os.environ.keys() & _ALLOCATOR_SETTINGS:
            # Torch reads it when CUDA is first used. Blocks of memory can then grow. Otherwise the blocks
            # that batches of some shapes have left are too small for batches of other shapes.
            os.environ[_ALLOCATOR_SETTINGS[0]] = "expandable_segments:True"
    else:
        for setting in _KERNEL_CACHE_SETTINGS:  # torch reads them in the first matrix product
            os.environ.setdefault(setting, str(MAX_CACHED_KERNELS))
    return device


_ALLOCATOR_SETTINGS = ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF")
"""The environment variable with the settings of CUDA's allocator, and its newer name."""

_KERNEL_CACHE_SETTINGS = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
"""The environment variables with the sizes of two caches of kernels: that of oneDNN, and that of torch."""

MAX_CACHED_KERNELS = 64
"""The number of kernels that torch and oneDNN keep on a CPU, by default 1,024.

oneDNN generates a kernel of up to 1 MB for each shape of a matrix product. Nearly every update has new
shapes, so most kernels would be kept without being used again. With 64, an update of a Transformer still
generates the kernels of its layers once, because all layers have the same shapes.
"""


def _parsed(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"device {name!r}: no such device; write auto, cpu, cuda or cuda:NUMBER") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise UserError(f"device {name!r}: this machine has {count} CUDA devices; write auto or cpu")
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"device {name!r}: seqx supports only cpu and cuda; write auto, cpu or cuda")
    return device


_NO_KERNEL = re.compile(r"could not create a primitive|not implemented for '?BFloat16")


@contextlib.contextmanager
def autocast(device: torch.device, precision: ComputePrecision) -> Iterator[None]:
    """Compute the matrix products in the block with this precision; int8 applies to packed weights only.

    Raises:
        UserError: the device has no bf16 kernel for an operation of the model
    """
    if precision != "bf16":
        yield
        return
    try:
        with torch.autocast(device.type, torch.bfloat16):
            yield
    except RuntimeError as error:
        if not _NO_KERNEL.search(str(error)):
            raise
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise UserError(
            f"precision bf16: PyTorch has no kernel on this {device.type} for an operation that the model "
            f"computes ({reason}); set precision to fp32"
        ) from error


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to a device without waiting for the end of the copy.

    Only copies from pinned memory are asynchronous, so pin the tensor first.
    """
    if device.type != "cuda":
        return tensor.to(device)
    if tensor.device.type == "cpu" and not tensor.is_pinned():
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def copy_to_host(*tensors: Tensor) -> list[Tensor]:
    """Copy several tensors [B, ...] from their device at once, because each copy waits for the device.

    The copies are float64, which represents integers up to 2^53 exactly.
    """
    flat = [tensor.reshape(len(tensor), -1).double() for tensor in tensors]
    copies = torch.split(torch.cat(flat, 1).cpu(), [columns.size(1) for columns in flat], 1)
    return [copy.view(tensor.shape) for copy, tensor in zip(copies, tensors, strict=True)]


def true_indices(flags: Tensor, count: int) -> Tensor:
    """Return the indices of the `count` true entries of `flags` [B], without waiting for the device."""
    return (~flags).int().argsort(stable=True)[:count]


_OUT_OF_MEMORY = re.compile(
    r"DefaultCPUAllocator"
    r"|out of memory"  # the CUDA runtime, Triton, and NCCL ("Cuda failure 2 'out of memory'")
    r"|(CUBLAS|CUDNN|CUSOLVER|CUSPARSE)_STATUS_(ALLOC_FAILED|INTERNAL_ERROR_\w*ALLOCATION_FAILED)"
    r"|CUFFT_ALLOC_FAILED",
    re.IGNORECASE,
)


def is_out_of_memory(error: BaseException) -> bool:
    """Return true for an out-of-memory error of a CPU or a GPU, from any library."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and _OUT_OF_MEMORY.search(str(error)) is not None


@contextlib.contextmanager
def raise_torch_oom() -> Iterator[None]:
    """Turn every out-of-memory error in the block into `torch.OutOfMemoryError`.

    Raises:
        torch.OutOfMemoryError: an allocation failed
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise torch.OutOfMemoryError(str(error)) from None


class BatchShrinker:
    """A division of batches into parts that fit into memory.

    A part that does not fit is split into halves. The object remembers the largest fraction of a batch that
    may fit, and divides later batches into such parts.

    Args:
        device: the device of the model
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._fraction = 1.0  # the largest fraction of a batch that may fit into memory

    def parts(self, batch: Sequence[T]) -> Iterator[tuple[Sequence[T], AbstractContextManager[None]]]:
        """Yield the parts of a batch in order, each with a context in which to compute it.

        If a part runs out of memory in its context, its halves are yielded next. A single row that does not
        fit raises an OutOfMemoryError.
        """
        size = max(1, int(len(batch) * self._fraction))
        pending = deque(batch[start : start + size] for start in range(0, len(batch), size))
        while pending:
            part = pending.popleft()
            failed: list[Sequence[T]] = []
            yield part, _note_out_of_memory(part, failed)
            # Split after the context, because the traceback of the error keeps tensors in memory.
            for too_large in failed:
                pending.extendleft(reversed(self._halves(too_large, len(batch))))

    def _halves(self, part: Sequence[T], batch_size: int) -> tuple[Sequence[T], Sequence[T]]:
        if self._fraction == 1.0:
            log.warning(
                "%s ran out of memory with a batch of %d inputs; continuing with smaller batches",
                self.device,
                len(part),
            )
        middle = len(part) // 2
        self._fraction = min(self._fraction, middle / batch_size)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()  # cached blocks of a large batch are too fragmented for smaller ones
        return part[:middle], part[middle:]


@contextlib.contextmanager
def _note_out_of_memory(part: Sequence[T], failed: list[Sequence[T]]) -> Iterator[None]:
    """Append a part to `failed` if the block runs out of memory; a single row raises the error."""
    try:
        with raise_torch_oom():
            yield
    except torch.OutOfMemoryError:
        if len(part) == 1:
            raise
        failed.append(part)


@contextlib.contextmanager
def deterministic(*, enabled: bool) -> Iterator[None]:
    """Use only deterministic kernels in the block, if `enabled` is true.

    Kernels for CPUs are deterministic anyway. On a GPU, enter the block before anything is computed there.

    Raises:
        UserError: an operation has no deterministic kernel
    """
    if not enabled:
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled()
    fill = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]  # torch's own types lack it
    torch.use_deterministic_algorithms(mode=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    except RuntimeError as error:
        if "does not have a deterministic implementation" not in str(error):
            raise
        raise UserError(f"training.deterministic: {str(error).partition(',')[0]}; set it to false") from None
    finally:
        torch.use_deterministic_algorithms(mode=before)
        torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]


def uses_cuda() -> bool:
    """Return true if this process has initialised CUDA."""
    return torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
