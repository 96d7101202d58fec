"""The simulated GPU counts waits, mixed devices and kernels correctly."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.simulated_gpu.device import MixError, SimulatedGpu

CUDA = torch.device("cuda", 0)


def test_device_tensors_compute_and_report_cuda() -> None:
    with SimulatedGpu() as gpu:
        x = torch.ones(2, 3).pin_memory().to(CUDA, non_blocking=True).requires_grad_()
        y = (x * 2).sum()
        y.backward()  # type: ignore[no-untyped-call]
        assert x.device == y.device == CUDA
        assert x.is_cuda
        assert x.grad is not None
        assert not gpu.waits
        assert x.grad.tolist() == [[2.0] * 3] * 2
        assert sum(gpu.waits.values()) == 1
    assert not gpu.mixes


WAITS: dict[str, Callable[[Tensor], object]] = {
    "item": lambda x: x[0].item(),
    "bool": lambda x: bool(x[0] > 0),
    "int": lambda x: int(x[0]),
    "tolist": lambda x: x.tolist(),
    "a copy to the host": lambda x: x.cpu(),
    "nonzero": lambda x: x.nonzero(),
    "indexing by a mask": lambda x: x[x > 1],
    "writing to a mask": lambda x: x.__setitem__(x > 1, x[:1]),
    "unique": torch.unique_consecutive,
    "repeat_interleave": lambda x: torch.arange(3, device=x.device).repeat_interleave(x.long()),
    "new_tensor from a list": lambda x: x.new_tensor([1.0, 2.0]),
    "a tensor from a list": lambda x: torch.tensor([1.0], device=x.device),
    "a copy from memory that is not pinned": lambda x: torch.ones(2).to(x.device, non_blocking=True),
    "a blocking copy": lambda x: torch.ones(2).pin_memory().to(x.device),
    "indices on the host": lambda x: x[torch.tensor([0, 1])],
    "synchronize": lambda x: torch.cuda.synchronize(),
}


@pytest.mark.parametrize("name", WAITS)
def test_each_wait_is_counted_once(name: str) -> None:
    with SimulatedGpu() as gpu:
        x = torch.arange(1.0, 4.0, device=CUDA)
        assert not gpu.waits
        WAITS[name](x)
        assert sum(gpu.waits.values()) == 1, gpu.waits
        assert all("tests/simulated_gpu/test_counter.py" in where for where in gpu.waits)


def test_asynchronous_operations_count_no_wait() -> None:
    with SimulatedGpu() as gpu:
        x = torch.arange(3.0, device=CUDA)
        torch.where(x > 1, x, 0).sort().values.cumsum(0)[x.long()].topk(2)
        torch.ones(2).pin_memory().to(CUDA, non_blocking=True)
        torch.empty(3, pin_memory=True).copy_(x, non_blocking=True)
        x.repeat_interleave(2)
        assert not gpu.waits


MIXES: dict[str, Callable[[Tensor], object]] = {
    "a sum": lambda x: x + torch.ones(3),
    "a product": lambda x: x @ torch.ones(3),
    "cat": lambda x: torch.cat([x, torch.ones(3)]),
    "gather": lambda x: x.gather(0, torch.tensor([1])),
    "indices on the device": lambda x: torch.ones(3)[x.long() - 1],
}


@pytest.mark.parametrize("name", MIXES)
def test_operation_with_tensors_of_both_devices_raises_mix_error(name: str) -> None:
    with SimulatedGpu() as gpu:
        x = torch.arange(1.0, 4.0, device=CUDA)
        with pytest.raises(MixError, match="tensors on cuda:0 and cpu"):
            MIXES[name](x)
        assert len(gpu.mixes) == 1
        x + torch.tensor(1.0)  # a scalar on the host is allowed


def test_kernels_are_counted_and_views_are_not() -> None:
    with SimulatedGpu() as gpu:
        x = torch.ones(4, 4, device=CUDA)
        gpu.reset()
        x.T.unsqueeze(0).expand(2, 4, 4)[0].T.view(16)
        assert gpu.kernels == 0
        (x + x).exp()
        assert gpu.kernels == 2


@pytest.mark.parametrize(("requires", "kernels"), [(True, 1), (False, 2)])
def test_autocast_caches_only_casts_of_weights_that_require_gradients(requires: bool, kernels: int) -> None:
    with SimulatedGpu() as gpu:
        weight = torch.ones(4, 4, device=CUDA).requires_grad_(requires)
        x = torch.ones(4, 4, dtype=torch.bfloat16, device=CUDA)
        with torch.no_grad(), torch.autocast("cuda", torch.bfloat16):
            assert (x @ weight).dtype == torch.bfloat16
            with torch.autocast("cuda", enabled=False):
                x.float() @ weight
            gpu.reset()
            x @ weight
            assert gpu.kernels == kernels


def test_layer_norm_is_float32_under_autocast_and_rejects_mixed_dtypes() -> None:
    with SimulatedGpu():
        x = torch.ones(2, 4, dtype=torch.bfloat16, device=CUDA)
        with torch.autocast("cuda", torch.bfloat16):
            assert torch.nn.functional.layer_norm(x, (4,)).dtype == torch.float32
        with pytest.raises(RuntimeError, match="expected scalar type"):
            torch.nn.functional.layer_norm(x, (4,), torch.ones(4, device=CUDA))


def test_too_large_tensor_raises_out_of_memory_error() -> None:
    with SimulatedGpu() as gpu:
        gpu.memory = 400
        torch.ones(100, device=CUDA)
        with pytest.raises(torch.OutOfMemoryError):
            torch.ones(101, device=CUDA)
        assert gpu.oom_errors == 1


def test_device_has_its_own_random_number_generator() -> None:
    with SimulatedGpu():
        torch.manual_seed(1)
        host = torch.get_rng_state()
        state = torch.cuda.get_rng_state()
        first = torch.rand(3, device=CUDA).tolist()
        assert torch.get_rng_state().equal(host)
        torch.cuda.set_rng_state(state)
        assert torch.rand(3, device=CUDA).tolist() == first
