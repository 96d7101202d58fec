"""Tensors of the simulated GPU: torch's PrivateUse1 device with a Python backend, under the name "cuda:0".

A CPU build of torch has no device guards and streams for "cuda", and aborts the process if a tensor there
requires a gradient. PrivateUse1 has them. Import this module before the first backward pass of the process,
because autograd reads the number of devices only once.
"""

from collections.abc import Callable
from typing import Any, ClassVar, Protocol, Self

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.backend_registration import (
    _DummyBackendModule,
    _setup_privateuseone_for_python_backend,
)

NAME = "simulated"
PRIVATE = torch.device("privateuseone", 0)
CUDA = torch.device("cuda", 0)
_SCALARS = {bool, float, int, str, torch.dtype, type(None)}


def replace_leaves(kind: type | tuple[type, ...], replace: Callable[[Any], Any], nest: Any) -> Any:
    """Replace each object of one type in nested tuples, lists and dicts.

    `tree_map_only` of torch does the same for more containers, but takes most of the time of these tests.
    """
    if isinstance(nest, kind):
        return replace(nest)
    container = type(nest)
    if container is tuple:
        return tuple([i if type(i) in _SCALARS else replace_leaves(kind, replace, i) for i in nest])
    if container is list:
        return [i if type(i) in _SCALARS else replace_leaves(kind, replace, i) for i in nest]
    if container is dict:
        return {key: replace_leaves(kind, replace, item) for key, item in nest.items()} if nest else nest
    if isinstance(nest, tuple | list | dict) and container is not torch.Size:
        return pytree.tree_map_only(kind, replace, nest)
    return nest


class Runner(Protocol):
    """An object that runs the operations of device tensors, such as the simulated device."""

    generator: torch.Generator
    graph: Any  # the CUDA graph that is captured; None: there is none

    def graph_replayed(self, kernels: int) -> None: ...
    def run(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any: ...


class Active:
    """The holder of the simulated device whose context is entered."""

    device: ClassVar[Runner | None] = None

    @classmethod
    def get(cls) -> Runner:
        assert cls.device is not None, "use the simulated device inside of its `with` block"
        return cls.device


class _Module(_DummyBackendModule):
    """The functions that torch expects in the module of an accelerator."""

    def get_rng_state(self, *_: object) -> Tensor:
        return Active.get().generator.get_state()

    def set_rng_state(self, state: Tensor, *_: object) -> None:
        Active.get().generator.set_state(state)

    def manual_seed_all(self, seed: int) -> None:
        if Active.device is not None:
            Active.device.generator.manual_seed(seed)

    manual_seed = manual_seed_all

    def _is_in_bad_fork(self) -> bool:
        return False


_setup_privateuseone_for_python_backend(NAME, backend_module=_Module())


class DeviceTensor(Tensor):
    """A tensor on the simulated GPU; its values are in the CPU tensor `on_cpu`."""

    on_cpu: Tensor

    @staticmethod
    def __new__(cls: type[Self], inner: Tensor) -> Self:
        make: Callable[..., Self] = Tensor._make_wrapper_subclass
        wrapper = make(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=PRIVATE,
            requires_grad=False,
        )
        wrapper.on_cpu = inner
        return wrapper

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return Active.get().run(func, args, kwargs or {})

    device = property(lambda _: CUDA)
    is_cuda = property(lambda _: True)

    def __deepcopy__(self, memo: dict[int, Any]) -> "DeviceTensor":
        if id(self) not in memo:
            copied = self.detach().clone().requires_grad_(self.requires_grad)
            if isinstance(self, torch.nn.Parameter):
                copied = torch.nn.Parameter(copied, self.requires_grad)
            memo[id(self)] = copied
        return memo[id(self)]

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"DeviceTensor({self.on_cpu!r})"

    def __format__(self, spec: str) -> str:
        return format(self.item() if self.dim() == 0 else repr(self), spec)

    def is_pinned(self, *_: Any, **__: Any) -> bool:
        return False

    def data_ptr(self) -> int:
        return self.on_cpu.data_ptr()

    def untyped_storage(self) -> torch.UntypedStorage:
        return self.on_cpu.untyped_storage()
