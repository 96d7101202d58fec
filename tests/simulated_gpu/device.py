"""A simulated GPU: its tensors are on "cuda:0" and are computed on the CPU.

    with SimulatedGpu() as gpu:
        model.to("cuda")...  # values are computed
    gpu.waits, gpu.mixes, gpu.kernels

It counts the operations that launch a kernel, records each wait of the host for the device with its line of
code, and raises `MixError` if an operation has tensors of both devices, like CUDA. The device has a random
number generator of its own. Not simulated: torch.compile, several processes, streams, memory use, and the
numerics of CUDA's kernels.
"""

import contextlib
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from tests.simulated_gpu.backend import NAME, Active, DeviceTensor, replace_leaves
from tests.simulated_gpu.cuda import patch
from tests.simulated_gpu.graphs import SimulatedGraph

aten = torch.ops.aten

_WAITING = {  # operations for which the host needs the result or its size
    aten._local_scalar_dense.default,
    aten._unique2.default,
    aten.allclose.default,
    aten.equal.default,
    aten.is_nonzero.default,
    aten.masked_select.default,
    aten.nonzero.default,
    aten.unique_consecutive.default,
    aten.unique_dim.default,
}
NO_KERNELS = {  # operations without a kernel, in addition to views
    "_reshape_alias",
    "_unsafe_view",
    "alias",
    "detach",
    "empty",
    "empty_like",
    "empty_strided",
    "lift_fresh",
    "new_empty",
    "new_empty_strided",
    "record_stream",
}
_INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}
_COPYING = {aten.copy_.default, aten._to_copy.default}
_ROOT = Path(__file__).parents[2]
_SIMULATION = {Path(__file__).with_name(name) for name in ("backend.py", "cuda.py", "device.py")}


class MixError(RuntimeError):
    """An operation with tensors of two devices."""


class SimulatedGpu(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A context with a simulated GPU."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.waits = Counter[str]()
        self.mixes: list[str] = []
        self.kernels = 0
        self.kernels_by: Counter[str] | None = None  # by function of the project; None: not counted
        self.memory: int | None = None  # largest size of a tensor in bytes, for out-of-memory errors
        self.oom_errors = 0
        self.generator = torch.Generator().manual_seed(0)
        self.pinned: dict[int, Tensor] = {}  # tensors by the address of their storage
        self.emptied = 0  # calls of torch.cuda.empty_cache
        self.graph: SimulatedGraph | None = None  # that is captured
        self.replays = 0  # of captured graphs
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        Active.device = self
        patch(self, self._stack)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: object) -> None:
        try:
            super().__exit__(*error)  # type: ignore[no-untyped-call]
        finally:
            self._stack.close()
            Active.device = None

    def reset(self) -> None:
        """Reset the counts of waits and kernels."""
        self.waits.clear()
        self.kernels = 0
        if self.kernels_by is not None:
            self.kernels_by.clear()

    def wait(self, what: str) -> None:
        """Count a wait of the host for the device.

        Raises:
            RuntimeError: a CUDA graph is captured
        """
        if self.graph is not None:
            raise RuntimeError(f"CUDA error: operation not permitted when stream is capturing\n({what})")
        self.waits[f"{what} at {self._where()}"] += 1

    def launch(self, kernels: int) -> None:
        """Count some kernels, which a capture does not run."""
        if self.graph is not None:
            return
        self.kernels += kernels
        if self.kernels_by is not None:
            self.kernels_by[self._function()] += kernels

    def graph_replayed(self, kernels: int) -> None:
        """Count a replay of a captured graph."""
        self.replays += 1
        self.launch(kernels)

    def pin(self, tensor: Tensor) -> Tensor:
        self.pinned[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    def is_pinned(self, tensor: Tensor) -> bool:
        return tensor.untyped_storage().data_ptr() in self.pinned

    def _where(self) -> str:
        """Return the innermost line of the project on the stack; "?" if there is none."""
        frame = _innermost_frame()
        if frame is None:
            return "?"
        return f"{Path(frame.f_code.co_filename).relative_to(_ROOT)}:{frame.f_lineno}"

    def _function(self) -> str:
        """Return the innermost function of the project on the stack; "backward" if autograd called it."""
        frame = _innermost_frame()
        return "backward" if frame is None else frame.f_code.co_qualname

    # --- computing

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Return false: excluding each operation from torch.compile takes time, and nothing is compiled."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return self.run(func, args, kwargs or {})

    def run(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Compute an operation on the device of its tensors or of its result."""
        device_tensors: list[DeviceTensor] = []
        host_tensors: list[Tensor] = []

        def to_cpu(tensor: Tensor) -> Tensor:
            if isinstance(tensor, DeviceTensor):
                device_tensors.append(tensor)
                return tensor.on_cpu
            host_tensors.append(tensor)
            return tensor

        cpu_args = replace_leaves(Tensor, to_cpu, args)
        cpu_kwargs = replace_leaves(Tensor, to_cpu, kwargs) if kwargs else kwargs
        target = kwargs.get("device")
        on_device = bool(device_tensors) if target is None else torch.device(target).type in ("cuda", NAME)
        if not device_tensors and not on_device:
            return self._on_host(func, args, kwargs)
        operation = operation_of(func)
        if host_tensors:
            self._check_mix(operation, args, host_tensors)
        if device_tensors:
            self._note_waits(operation, args, kwargs)
        if operation.copies:
            self._note_copy(operation, args, kwargs, to_device=on_device)
        if operation.has_kernel:
            self.launch(1)
        out = self._compute(operation, cpu_args, _for_cpu(operation, cpu_kwargs))
        if operation.returns_changed:
            outs = _written(func, args, kwargs)
            return outs[0] if len(outs) == 1 else tuple(outs)
        return replace_leaves(Tensor, DeviceTensor, out) if on_device else out

    def _on_host(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if "pin_memory" not in kwargs:
            return func(*args, **kwargs)
        out = func(*args, **{key: value for key, value in kwargs.items() if key != "pin_memory"})
        return self.pin(out) if kwargs["pin_memory"] else out

    def _compute(self, operation: "Operation", args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        func = operation.func
        if func is aten.native_layer_norm.default and args[2] is not None and args[0].dtype != args[2].dtype:
            raise RuntimeError(f"expected scalar type {args[0].dtype} but found {args[2].dtype}")  # as CUDA
        self.allocate((args, kwargs))

        def compute() -> Any:
            if not operation.is_random:
                return func(*args, **kwargs)
            with self.own_random_state():
                return func(*args, **kwargs)

        if self.graph is not None:
            self.graph.will_change(_written(func, args, kwargs))
        out = compute()
        if func is aten._to_copy.default and out is args[0]:
            out = out.clone()
        if self.graph is not None and operation.has_kernel:
            self.graph.record(compute, out)
        self.allocate(out)
        return out

    def allocate(self, nest: Any) -> None:
        """Raise an error if a tensor is larger than `memory`.

        Raises:
            OutOfMemoryError: a tensor is too large
        """
        for tensor in pytree.tree_leaves(nest) if self.memory is not None else ():
            size = tensor.numel() * tensor.element_size() if isinstance(tensor, Tensor) else 0
            if self.memory is not None and size > self.memory:
                self.oom_errors += 1
                raise torch.OutOfMemoryError(f"CUDA out of memory (simulated): {size} bytes")

    @contextlib.contextmanager
    def own_random_state(self) -> Iterator[None]:
        """Use the random number generator of the device in the block."""
        before = torch.get_rng_state()
        torch.set_rng_state(self.generator.get_state())
        try:
            yield
        finally:
            self.generator.set_state(torch.get_rng_state())
            torch.set_rng_state(before)

    # --- counting

    def _check_mix(
        self, operation: "Operation", args: tuple[Any, ...], host_tensors: Sequence[Tensor]
    ) -> None:
        name, tags = operation.name, operation.func.tags
        if operation.copies:
            return
        scalars = all(tensor.dim() == 0 for tensor in host_tensors) and torch.Tag.pointwise in tags
        if operation.indexes and isinstance(args[0], DeviceTensor):  # CUDA copies the indices to the device
            self.wait(f"{name} by indices from the host")
        elif not scalars:
            self.mixes.append(f"{name} at {self._where()}: tensors on cuda:0 and cpu")
            raise MixError(self.mixes[-1])

    def _note_waits(self, operation: "Operation", args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        name = operation.name
        repeats = operation.func is aten.repeat_interleave.Tensor and kwargs.get("output_size") is None
        if operation.waits or repeats:
            self.wait(name)
        if operation.indexes and any(
            isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        ):
            self.wait(f"{name} by a mask")

    def _note_copy(
        self, operation: "Operation", args: tuple[Any, ...], kwargs: dict[str, Any], *, to_device: bool
    ) -> None:
        """Count a copy between host and device, except an asynchronous copy from pinned memory."""
        in_place = operation.func is aten.copy_.default
        source, target = (args[1], args[0]) if in_place else (args[0], None)
        leaves, enters = (
            isinstance(source, DeviceTensor),
            isinstance(target, DeviceTensor) or (to_device and not in_place),
        )
        if leaves == enters:
            return
        non_blocking = bool(kwargs.get("non_blocking") or (in_place and len(args) > 2 and args[2]))
        host = target if leaves else source
        if not (non_blocking and isinstance(host, Tensor) and self.is_pinned(host)):
            self.wait("copy to the host" if leaves else "copy to the device")


def _innermost_frame() -> FrameType | None:
    """Return the innermost frame in a file of the project that is not part of the simulation."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not _is_of_project(frame.f_code.co_filename):
        frame = frame.f_back
    return frame


@cache
def _is_of_project(name: str) -> bool:
    file = Path(name)
    return file.is_relative_to(_ROOT) and file not in _SIMULATION and "site-packages" not in file.parts


class Operation(NamedTuple):
    """An operation of torch and its properties, which are looked up together because its hash is slow."""

    func: Any
    name: str
    """The name without its namespace and its overload."""
    has_kernel: bool
    """True if the operation launches a kernel."""
    is_random: bool
    """True if the operation draws random numbers."""
    returns_changed: bool
    """True if the operation returns the tensors that it changes."""
    copies: bool
    indexes: bool
    waits: bool
    """True if the host waits for the result."""


@cache
def operation_of(func: Any) -> Operation:
    """Return an operation with its properties."""
    name = operation_name(func)
    returned = func._schema.returns
    return Operation(
        func=func,
        name=name,
        has_kernel=not (func.is_view or name in NO_KERNELS),
        is_random=torch.Tag.nondeterministic_seeded in func.tags,
        returns_changed=bool(func._schema.is_mutable and returned and _is_written(returned[0])),
        copies=func in _COPYING,
        indexes=name in _INDEXING,
        waits=func in _WAITING,
    )


def _for_cpu(operation: Operation, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments as CPU tensors."""
    func = operation.func
    if not kwargs and func is not aten._to_copy.default:
        return kwargs
    kwargs = {key: value for key, value in kwargs.items() if key not in ("pin_memory", "non_blocking")}
    if kwargs.get("device") is not None:
        kwargs["device"] = torch.device("cpu")
    if func is aten._to_copy.default and not kwargs.get("memory_format"):
        kwargs["memory_format"] = torch.preserve_format
    return kwargs


@cache
def operation_name(func: Any) -> str:
    """Return the name of an operation without its namespace and its overload."""
    return str(func.name()).removeprefix("aten::").partition(".")[0]


def _written(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """Return the arguments that an operation writes."""
    schema = func._schema.arguments
    outs = [a for a, parameter in zip(args, schema, strict=False) if _is_written(parameter)]
    return outs + [
        kwargs[parameter.name]
        for parameter in schema
        if parameter.kwarg_only and _is_written(parameter) and parameter.name in kwargs
    ]


def _is_written(parameter: Any) -> bool:
    """Return true if an operation writes to this parameter."""
    return parameter.alias_info is not None and parameter.alias_info.is_write
