"""Devices: which is taken, kernels that repeat to the bit, and whatever says that memory is short."""

import re

import pytest
import torch
import torch.distributed

from seqx.devices import deterministic, device_of, is_out_of_memory, telling_memory, to_device
from seqx.errors import UserError


def test_deterministic_kernels_are_asked_for_and_given_up_again() -> None:
    with deterministic(wanted=False):
        assert not torch.are_deterministic_algorithms_enabled()
    with deterministic(wanted=True):
        assert torch.are_deterministic_algorithms_enabled()
    assert not torch.are_deterministic_algorithms_enabled()


def test_what_has_no_deterministic_kernel_is_told() -> None:
    said = "cumsum_cuda_kernel does not have a deterministic implementation, but you set 'torch.use_...'"
    with (
        pytest.raises(
            UserError, match=r"^training.deterministic: cumsum_cuda_kernel does not have [^,]*; set"
        ),
        deterministic(wanted=True),
    ):
        raise RuntimeError(said)
    assert not torch.are_deterministic_algorithms_enabled()
    with pytest.raises(RuntimeError, match="other"), deterministic(wanted=True):
        raise RuntimeError("other")


@pytest.mark.parametrize(
    "said",
    [
        "[enforce fail at alloc_cpu.cpp:119] . DefaultCPUAllocator: can't allocate memory: you tried to ...",
        "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of ...",
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
        "cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`",
        "ncclUnhandledCudaError: Call to CUDA function failed.\nLast error:\nCuda failure 2 'out of memory'",
        "Triton Error [CUDA]: out of memory",
    ],
)
@pytest.mark.parametrize("kind", [RuntimeError, torch.AcceleratorError, torch.distributed.DistBackendError])
def test_whichever_library_says_that_memory_is_short(said: str, kind: type[RuntimeError]) -> None:
    assert is_out_of_memory(kind(said))
    with pytest.raises(torch.OutOfMemoryError, match=re.escape(said)), telling_memory():
        raise kind(said)


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA")])
def test_errors_that_are_of_memory_by_their_kind(error: Exception) -> None:
    with pytest.raises(torch.OutOfMemoryError), telling_memory():
        raise error


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"),
        RuntimeError("NCCL error: unhandled system error, Last error: connection refused"),
        ValueError("out of memory"),
    ],
)
def test_other_errors_are_left_alone(error: Exception) -> None:
    assert not is_out_of_memory(error)
    with pytest.raises(type(error), match=re.escape(str(error))), telling_memory():
        raise error


@pytest.fixture
def _with_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that has a GPU, which must not be used."""

    def refuse(*_: object) -> None:
        raise AssertionError("CUDA is initialised")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "_lazy_init", refuse)


@pytest.mark.usefixtures("_with_gpu")
@pytest.mark.parametrize(
    ("name", "taken"), [("cpu", True), ("cuda", False), ("auto", False), ("cuda:0", False)]
)
def test_attention_of_cudnn_is_given_up_where_a_gpu_is_chosen(name: str, taken: bool) -> None:
    before = torch._C._get_cudnn_sdp_enabled()
    try:
        torch.backends.cuda.enable_cudnn_sdp(enabled=True)
        assert device_of(name).type == name.partition(":")[0].replace("auto", "cuda")
        assert torch._C._get_cudnn_sdp_enabled() == taken
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)
    assert not torch.cuda.is_initialized()  # type: ignore[no-untyped-call]


def test_a_tensor_for_a_cpu_is_not_copied() -> None:
    x = torch.ones(2)
    assert to_device(x, torch.device("cpu")) is x
