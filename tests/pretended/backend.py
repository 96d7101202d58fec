"""Tensors of the pretended GPU: torch's PrivateUse1 device, as a backend in Python, under the name "cuda:0".

A CPU build of torch has no device guards and streams for "cuda", and aborts the process if a tensor there
requires a gradient. PrivateUse1 has them. Import this module before the first backward pass of the process,
in which autograd counts the devices once and for all.
"""

from collections.abc import Callable
from typing import Any, ClassVar, Protocol, Self

import torch
from torch import Tensor
from torch.utils.backend_registration import (
    _DummyBackendModule,
    _setup_privateuseone_for_python_backend,
)

NAME = "pretended"
BELOW = torch.device("privateuseone", 0)
CUDA = torch.device("cuda", 0)


class Computes(Protocol):
    """Runs the operations of device tensors while a device is entered."""

    generator: torch.Generator

    def run(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any: ...


class Active:
    """Return the current device."""

    device: ClassVar[Computes | None] = None

    @classmethod
    def get(cls) -> Computes:
        assert cls.device is not None, "the pretended device is used outside of its block"
        return cls.device


class _Module(_DummyBackendModule):
    """The functions that torch calls in the module of an accelerator."""

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
    """A tensor on the pretended GPU, computed as the CPU tensor `on_cpu`."""

    on_cpu: Tensor

    @staticmethod
    def __new__(cls: type[Self], inner: Tensor) -> Self:
        make: Callable[..., Self] = Tensor._make_wrapper_subclass
        made = make(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=BELOW,
            requires_grad=False,
        )
        made.on_cpu = inner
        return made

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
