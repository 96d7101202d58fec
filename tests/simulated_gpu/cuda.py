"""Simulation of `torch.cuda`, pinned memory, autocast and fused kernels."""

import contextlib
import warnings
from types import SimpleNamespace
from typing import Any, Protocol
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import _foreach_utils
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import _disable_current_modes

from tests.simulated_gpu.backend import PRIVATE, DeviceTensor, replace_leaves
from tests.simulated_gpu.graphs import SimulatedGraph

_RECURRENT = {torch.gru, torch.gru_cell, torch.lstm, torch.lstm_cell}
_FUSED = {*_RECURRENT, F.scaled_dot_product_attention}
_CUMULATIVE_SUMS = {torch.cumsum, Tensor.cumsum}  # CUDA sums floating-point numbers in an order that varies
_SPECIAL = {Tensor.new_tensor, Tensor.numpy, Tensor.tolist, torch.as_tensor, torch.tensor}

# Operations of this project from the lists in autocast_mode.h of torch 2.13: in low precision, in float32,
# and in float32 unless a dtype is passed.
_LOW_PRECISION = {
    *_RECURRENT,
    *(F.conv1d, F.linear, F.scaled_dot_product_attention),
    *(torch.addmm, torch.baddbmm, torch.bmm, torch.conv1d, torch.einsum, torch.matmul, torch.mm),
    *(Tensor.__matmul__, Tensor.__rmatmul__, Tensor.bmm, Tensor.matmul, Tensor.mm),
}
_FLOAT32 = {
    *(F.layer_norm, F.rms_norm, torch.layer_norm),
    *(torch.exp, torch.log, torch.logsumexp, torch.pow, torch.rsqrt),
    *(Tensor.__pow__, Tensor.exp, Tensor.log, Tensor.logsumexp, Tensor.pow, Tensor.rsqrt),
}
_FLOAT32_BY_DEFAULT = {
    *(F.log_softmax, F.softmax),
    *(torch.cumprod, torch.cumsum, torch.log_softmax, torch.prod, torch.softmax, torch.sum),
    *(Tensor.cumprod, Tensor.cumsum, Tensor.log_softmax, Tensor.prod, Tensor.softmax, Tensor.sum),
}

_WEIGHTS_WARNING = (
    "RNN module weights are not part of single contiguous chunk of memory. This means they need to be "
    "compacted at every call, possibly greatly increasing memory usage. To compact weights again call "
    "flatten_parameters()."
)
"""The warning of cuDNN about layers whose weights are not the ones of `torch.nn.LSTM` or `GRU`."""


class Device(Protocol):
    """The interface of the simulated device."""

    generator: torch.Generator
    emptied: int
    graph: Any

    def launch(self, kernels: int) -> None: ...
    def wait(self, what: str) -> None: ...
    def pin(self, tensor: Tensor) -> Tensor: ...
    def is_pinned(self, tensor: Tensor) -> bool: ...
    def allocate(self, nest: Any) -> None: ...
    def own_random_state(self) -> contextlib.AbstractContextManager[None]: ...


def patch(gpu: Device, stack: contextlib.ExitStack) -> None:
    """Patch torch so that it reports the simulated device, until the stack is closed."""

    class Event:
        def __init__(self, *_: Any, **__: Any) -> None: ...
        def record(self, *_: Any) -> None: ...
        def synchronize(self) -> None:
            gpu.wait("cuda.Event.synchronize")

    def empty_cache() -> None:
        gpu.emptied += 1

    def pin_memory(tensor: Tensor, *_: Any, **__: Any) -> Tensor:
        assert not isinstance(tensor, DeviceTensor), "only host memory can be pinned"
        return gpu.pin(tensor.clone())

    seed, state = gpu.generator.manual_seed, gpu.generator.get_state
    functions = {
        "CUDAGraph": SimulatedGraph,
        "Event": Event,
        "Stream": lambda *_: None,
        "_is_in_bad_fork": lambda: False,
        "_lazy_init": lambda: None,
        "current_device": lambda: 0,
        "current_stream": lambda *_: None,
        "device_count": lambda: 1,
        "empty_cache": empty_cache,
        "get_device_capability": lambda *_: (9, 0),
        "get_device_name": lambda *_: "simulated",
        "get_device_properties": lambda *_: SimpleNamespace(total_memory=80 * 2**30),
        "get_rng_state": lambda *_: state(),
        "get_rng_state_all": lambda: [state()],
        "is_available": lambda: True,
        "is_bf16_supported": lambda *_, **__: True,
        "is_initialized": lambda: True,
        "manual_seed": seed,
        "manual_seed_all": seed,
        "set_device": lambda *_: None,
        "stream": lambda _: contextlib.nullcontext(),
        "set_rng_state": lambda state, *_: gpu.generator.set_state(state),
        "synchronize": lambda *_: gpu.wait("cuda.synchronize"),
    }
    for name, function in functions.items():
        stack.enter_context(mock.patch.object(torch.cuda, name, function))
    stack.enter_context(mock.patch.object(Tensor, "pin_memory", pin_memory))
    stack.enter_context(mock.patch.object(Tensor, "is_pinned", lambda tensor, *_: gpu.is_pinned(tensor)))
    fused = [*_foreach_utils._foreach_supported_types, DeviceTensor]
    stack.enter_context(mock.patch.object(_foreach_utils, "_foreach_supported_types", fused))
    functions_mode = _Functions(gpu)
    stack.enter_context(mock.patch.object(torch, "clear_autocast_cache", functions_mode.casts.clear))
    stack.enter_context(functions_mode)


class _Functions(TorchFunctionMode):
    """Handles autocast, kernels that the CPU build decomposes, and calls that bypass the dispatcher."""

    def __init__(self, gpu: Device) -> None:
        super().__init__()
        self.gpu = gpu
        self.casts: dict[int, tuple[Tensor, Tensor]] = {}  # cached casts of weights

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__name__", "") == "__get__":  # an attribute, such as `shape`
            return func(*args)
        return self._call(func, *_with_private_device(func, args, kwargs or {}))

    def _call(self, func: Any, args: Any, kwargs: Any) -> Any:
        first = args[0] if args else None
        if func in _SPECIAL:
            if func in (torch.tensor, torch.as_tensor):
                if kwargs.get("device") == PRIVATE:
                    return _from_host(func, args, kwargs)
            elif isinstance(first, DeviceTensor):
                if func is Tensor.tolist:
                    return first.to("cpu").tolist()
                if func is Tensor.numpy:
                    raise TypeError("can't convert cuda:0 device type tensor to numpy.")
                if func is Tensor.new_tensor:
                    kwargs = {"dtype": first.dtype, "device": PRIVATE, **kwargs}
                    return _from_host(torch.tensor, args[1:], kwargs)
        if torch.is_autocast_enabled("cuda"):
            args, kwargs = self._cast(func, args, kwargs)
        _warn_or_refuse(func, first)
        if func in _FUSED and isinstance(first, DeviceTensor):
            fused = _attention if func is F.scaled_dot_product_attention else func
            return _run_fused(self.gpu, fused, args, kwargs)
        return func(*args, **kwargs)

    def _cast(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Return the arguments with the dtypes of autocast."""
        if func in _LOW_PRECISION:
            return replace_leaves(DeviceTensor, self._to_low_precision, (args, kwargs))
        has_dtype = kwargs.get("dtype") is not None or any(isinstance(a, torch.dtype) for a in args)
        if func in _FLOAT32 or (func in _FLOAT32_BY_DEFAULT and not has_dtype):
            return replace_leaves(
                DeviceTensor, lambda t: t.float() if t.dtype.is_floating_point else t, (args, kwargs)
            )
        return args, kwargs

    def _to_low_precision(self, tensor: Tensor) -> Tensor:
        dtype = torch.get_autocast_dtype("cuda")
        if tensor.dtype not in (torch.float32, torch.float16, torch.bfloat16) or tensor.dtype == dtype:
            return tensor
        if not (tensor.requires_grad and tensor.is_leaf and tensor.dtype == torch.float32):
            return tensor.to(dtype)
        if id(tensor) not in self.casts:
            self.casts[id(tensor)] = (tensor, tensor.to(dtype))
        return self.casts[id(tensor)][1]


def _warn_or_refuse(func: Any, first: Any) -> None:
    """Warn as cuDNN, or refuse a kernel whose results vary if only deterministic ones are allowed."""
    if not isinstance(first, DeviceTensor):
        return
    if func in (torch.gru, torch.lstm):
        warnings.warn(_WEIGHTS_WARNING, stacklevel=2)
    is_sum = func in _CUMULATIVE_SUMS and first.dtype.is_floating_point
    if is_sum and torch.are_deterministic_algorithms_enabled():
        raise RuntimeError(
            "cumsum_cuda_kernel does not have a deterministic implementation, but you set "
            "'torch.use_deterministic_algorithms(True)'."
        )


def _from_host(func: Any, args: Any, kwargs: dict[str, Any]) -> Tensor:
    """Create a tensor in memory that is not pinned, like torch, and copy it to the device."""
    device = kwargs.pop("device")
    tensor: Tensor = func(*args, **kwargs).to(device)
    return tensor


def _with_private_device(func: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the arguments with the backend's device instead of "cuda"."""
    if torch.device in map(type, args):
        args = tuple([_private(a) if type(a) is torch.device else a for a in args])
    if kwargs.get("device") is not None:
        kwargs = {**kwargs, "device": _private(torch.device(kwargs["device"]))}
    if func is Tensor.to and len(args) > 1 and isinstance(args[1], str):
        args = (args[0], _private(torch.device(args[1])), *args[2:])
    return args, kwargs


def _private(device: torch.device) -> torch.device:
    return PRIVATE if device.type == "cuda" else device


def _attention(query: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Return the result of torch's fused attention, whose memory has the order of dimensions of the query."""
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        return torch.empty_like(query).copy_(F.scaled_dot_product_attention(query, *args, **kwargs))


class _FusedKernel(torch.autograd.Function):
    """A fused kernel of CUDA, which the CPU build would decompose; computed on the CPU tensors."""

    @staticmethod
    def forward(ctx: Any, gpu: Device, work: Any, spec: Any, *flat: Any) -> Any:
        gpu.launch(1)
        needs = ctx.needs_input_grad[3:]
        on_cpu = [
            item.on_cpu.detach().requires_grad_(need) if isinstance(item, DeviceTensor) else item
            for item, need in zip(flat, needs, strict=True)
        ]
        args, kwargs = pytree.tree_unflatten(on_cpu, spec)

        def compute() -> Any:
            with _disable_current_modes(), torch.enable_grad(), gpu.own_random_state():
                return work(*args, **kwargs)

        out = compute()
        if gpu.graph is not None:
            gpu.graph.record(compute, out)
        ctx.gpu, ctx.on_cpu, ctx.out = gpu, on_cpu, out if isinstance(out, tuple) else (out,)
        gpu.allocate(ctx.out)
        outputs = tuple(DeviceTensor(tensor.detach()) for tensor in ctx.out)
        return outputs if isinstance(out, tuple) else outputs[0]

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        ctx.gpu.launch(3)
        requires_grad = [isinstance(item, Tensor) and item.requires_grad for item in ctx.on_cpu]
        inputs = [item for item, required in zip(ctx.on_cpu, requires_grad, strict=True) if required]
        pairs = [
            (o, g.on_cpu) for o, g in zip(ctx.out, grads, strict=True) if g is not None and o.requires_grad
        ]
        outs, output_gradients = zip(*pairs, strict=True)
        with _disable_current_modes():
            computed = iter(torch.autograd.grad(outs, inputs, output_gradients, allow_unused=True))
        gradients = [next(computed) if required else None for required in requires_grad]
        return (
            None,
            None,
            None,
            *(
                None
                if g is None
                else DeviceTensor(torch.empty_like(item).copy_(g))  # in the order of dimensions
                for g, item in zip(gradients, ctx.on_cpu, strict=True)
            ),
        )


def _run_fused(gpu: Device, work: Any, args: Any, kwargs: Any) -> Any:
    flat, spec = pytree.tree_flatten((args, kwargs))
    return _FusedKernel.apply(gpu, work, spec, *flat)  # type: ignore[no-untyped-call]
