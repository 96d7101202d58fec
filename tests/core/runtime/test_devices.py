"""Selection of devices, deterministic kernels, detection of bfloat16, and out-of-memory errors."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
import torch
import torch.distributed

from seqx.errors import UserError
from seqx.runtime.devices import (
    autocast,
    deterministic,
    device_of,
    is_out_of_memory,
    raise_torch_oom,
    to_device,
)
from seqx.runtime.precision import has_bf16, precision_of


def test_deterministic_kernels_are_enabled_in_the_block_only() -> None:
    with deterministic(enabled=False):
        assert not torch.are_deterministic_algorithms_enabled()
    with deterministic(enabled=True):
        assert torch.are_deterministic_algorithms_enabled()
    assert not torch.are_deterministic_algorithms_enabled()


def test_operation_without_deterministic_kernel_is_reported() -> None:
    message = "cumsum_cuda_kernel does not have a deterministic implementation, but you set 'torch.use_...'"
    with (
        pytest.raises(
            UserError, match=r"^training.deterministic: cumsum_cuda_kernel does not have [^,]*; set"
        ),
        deterministic(enabled=True),
    ):
        raise RuntimeError(message)
    assert not torch.are_deterministic_algorithms_enabled()
    with pytest.raises(RuntimeError, match="other"), deterministic(enabled=True):
        raise RuntimeError("other")


@pytest.mark.parametrize(
    ("device", "before", "after"),
    [
        ("cuda:0", {}, {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}),
        ("cuda:0", {"PYTORCH_ALLOC_CONF": "backend:native"}, {"PYTORCH_ALLOC_CONF": "backend:native"}),
        ("cuda:0", {"PYTORCH_CUDA_ALLOC_CONF": ""}, {"PYTORCH_CUDA_ALLOC_CONF": ""}),
        ("cpu", {}, {}),
    ],
)
def test_memory_of_a_gpu_is_allocated_in_growing_segments_unless_the_user_sets_other_options(
    device: str, before: dict[str, str], after: dict[str, str]
) -> None:
    with (
        mock.patch.dict(os.environ, before),
        mock.patch.object(torch.cuda, "device_count", return_value=1),
        mock.patch.object(torch.backends.cuda, "enable_cudnn_sdp"),
    ):
        device_of(device)
        assert {name: value for name, value in os.environ.items() if name.endswith("_ALLOC_CONF")} == after


PRODUCTS = """
import resource
import torch
from seqx.runtime.devices import device_of

def compute(rows):
    for number in rows:
        torch.ops.mkldnn._linear_pointwise(torch.ones(number, 64), weight, None, "none", [], "")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

device_of("cpu")
weight = torch.ones(64, 64)
print(compute(range(300, 600)) - compute(range(1, 300)))
"""


def test_kernels_of_many_shapes_do_not_fill_the_memory_of_a_cpu() -> None:
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        pytest.skip("torch was built without oneDNN")
    env = {name: value for name, value in os.environ.items() if not name.endswith("_CACHE_CAPACITY")}
    result = subprocess.run([sys.executable, "-c", PRODUCTS], check=True, capture_output=True, env=env)
    grown = int(result.stdout)
    assert grown < 40_000  # KiB; 1,024 kernels would allow 170,000


@pytest.mark.parametrize(("before", "after"), [({}, "64"), ({"LRU_CACHE_CAPACITY": "500"}, "500")])
def test_the_user_may_set_the_number_of_cached_kernels(before: dict[str, str], after: str) -> None:
    with mock.patch.dict(os.environ, before):
        if not before:
            os.environ.pop("LRU_CACHE_CAPACITY", None)
        device_of("cpu")
        assert os.environ["LRU_CACHE_CAPACITY"] == after


CPU = torch.device("cpu")
MODERN: dict[tuple[Any, str], Any] = {
    (torch.cpu, "_is_amx_tile_supported"): False,
    (torch.cpu, "_is_avx512_bf16_supported"): True,
    (torch.ops.mkldnn, "_is_mkldnn_bf16_supported"): True,
    (torch.backends.cpu, "get_cpu_capability"): "AVX512",
}


@pytest.fixture
def modern_cpu(monkeypatch: pytest.MonkeyPatch) -> Callable[..., bool]:
    """Call `has_bf16` for a simulated CPU with all units, with one property or variable changed."""

    def has_bf16_with(changed: tuple[tuple[Any, str], Any] | None = None, **limits: str) -> bool:
        with monkeypatch.context() as patch:
            for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
                patch.delenv(name, raising=False)
            for name, value in limits.items():
                patch.setenv(name, value)
            for function, value in (MODERN | dict([changed] if changed else [])).items():
                patch.setattr(*function, lambda value=value: value)
            return has_bf16.__wrapped__(CPU)

    return has_bf16_with


@pytest.mark.parametrize("value", ["AVX2", "sse41", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI"])
@pytest.mark.parametrize("name", ["ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"])
def test_a_cpu_whose_units_are_disabled_lacks_bf16(
    name: str, value: str, modern_cpu: Callable[..., bool]
) -> None:
    assert not modern_cpu(**{name: value})


def test_a_cpu_whose_units_are_enabled_has_bf16(modern_cpu: Callable[..., bool]) -> None:
    assert modern_cpu()
    assert modern_cpu(ONEDNN_MAX_CPU_ISA="AVX512_CORE_BF16")
    assert modern_cpu(
        ONEDNN_MAX_CPU_ISA="DEFAULT", DNNL_MAX_CPU_ISA="AVX2"
    )  # the first variable takes precedence


@pytest.mark.parametrize(
    ("function", "value"),
    [(function, "AVX2" if value == "AVX512" else False) for function, value in [*MODERN.items()][1:]],
)
def test_bf16_needs_every_property_of_a_cpu(
    function: tuple[Any, str], value: object, modern_cpu: Callable[..., bool]
) -> None:
    assert not modern_cpu((function, value))


@pytest.mark.isa
def test_auto_precision_is_bf16_if_matrix_products_have_a_kernel() -> None:
    assert precision_of("auto", CPU) == ("bf16" if has_bf16(CPU) else "fp32")
    if has_bf16(CPU):
        assert torch.ops.mkldnn._is_mkldnn_bf16_supported()
        x, weights = torch.randn(2, 3, 8), [torch.randn(32, 8), torch.randn(32, 8)]
        with torch.autocast("cpu", torch.bfloat16):
            torch.lstm(x, (torch.zeros(1, 2, 8),) * 2, weights, False, 1, 0.0, False, False, True)


def test_a_missing_bf16_kernel_is_reported() -> None:
    message = r"^precision bf16: PyTorch has no kernel on this cpu .*\(.*BFloat16.*\); set precision to fp32$"
    numbers = torch.ones(2, dtype=torch.bfloat16)
    with pytest.raises(UserError, match=message), autocast(CPU, "bf16"):
        torch.special.airy_ai(numbers)
    with pytest.raises(UserError, match="primitive for it"), autocast(CPU, "bf16"):
        raise RuntimeError("could not create a primitive for it. Run workload with ONEDNN_VERBOSE=all")
    with pytest.raises(RuntimeError, match="not implemented"), autocast(CPU, "fp32"):
        torch.special.airy_ai(numbers)
    with pytest.raises(RuntimeError, match=r"^other"), autocast(CPU, "bf16"):
        raise RuntimeError("other")


@pytest.mark.parametrize(
    "message",
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
@pytest.mark.parametrize(
    "error_type", [RuntimeError, torch.AcceleratorError, torch.distributed.DistBackendError]
)
def test_out_of_memory_errors_of_all_libraries(message: str, error_type: type[RuntimeError]) -> None:
    assert is_out_of_memory(error_type(message))
    with pytest.raises(torch.OutOfMemoryError, match=re.escape(message)), raise_torch_oom():
        raise error_type(message)


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA")])
def test_out_of_memory_errors_by_type(error: Exception) -> None:
    with pytest.raises(torch.OutOfMemoryError), raise_torch_oom():
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
def test_other_errors_are_not_out_of_memory(error: Exception) -> None:
    assert not is_out_of_memory(error)
    with pytest.raises(type(error), match=re.escape(str(error))), raise_torch_oom():
        raise error


@pytest.fixture
def _with_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate a machine with a GPU."""

    def refuse(*_: object) -> None:
        raise AssertionError("CUDA is initialised")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "_lazy_init", refuse)


@pytest.mark.usefixtures("_with_gpu")
@pytest.mark.parametrize(
    ("name", "is_enabled"), [("cpu", True), ("cuda", False), ("auto", False), ("cuda:0", False)]
)
def test_selecting_a_gpu_disables_cudnn_attention(name: str, is_enabled: bool) -> None:
    before = torch._C._get_cudnn_sdp_enabled()
    try:
        torch.backends.cuda.enable_cudnn_sdp(enabled=True)
        assert device_of(name).type == name.partition(":")[0].replace("auto", "cuda")
        assert torch._C._get_cudnn_sdp_enabled() == is_enabled
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)
    assert not torch.cuda.is_initialized()  # type: ignore[no-untyped-call]


def test_to_device_does_not_copy_a_cpu_tensor() -> None:
    x = torch.ones(2)
    assert to_device(x, torch.device("cpu")) is x
