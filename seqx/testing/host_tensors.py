"""Find tensors that a network creates on the CPU although its inputs may be on another device.

On a CPU all tensors are on one device, so this module follows tensors that are created without `device`.
"""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

_FACTORIES = {
    *(
        torch.arange,
        torch.empty,
        torch.eye,
        torch.full,
        torch.linspace,
        torch.ones,
        torch.rand,
        torch.randint,
    ),
    *(torch.randn, torch.randperm, torch.tensor, torch.tril_indices, torch.zeros),
}
_MOVES = {Tensor.to, Tensor.cuda, Tensor.type_as}
_ACCEPT_HOST_ARGUMENTS = {Tensor.__getitem__, Tensor.__setitem__, Tensor.copy_}
_TORCH = Path(torch.__file__).parent


class HostTensors(TorchFunctionMode):
    """Record operations that combine a tensor created without `device` with a tensor of the inputs.

    A tensor without dimensions may be on the CPU, and so may indices.
    """

    def __init__(self) -> None:
        super().__init__()
        self.problems: list[str] = []
        # by the id of the tensor; the tensor is kept, so that no other one gets its id
        self._origins: dict[int, tuple[Tensor, str]] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        """Call a function of torch, and follow the tensors that it creates or combines."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func in _FACTORIES:
            if kwargs.get("device") is None:
                self._follow(result, f"{_caller()}: `torch.{func.__name__}`")
            return result
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor) and leaf.dim()]
        origins = [self._origins[id(tensor)][1] for tensor in tensors if id(tensor) in self._origins]
        if not origins:
            return result
        if func in _MOVES:
            return result.clone() if id(result) in self._origins else result
        if len(origins) == len(tensors):
            self._follow(result, origins[0])
        elif func not in _ACCEPT_HOST_ARGUMENTS or id(args[0]) in self._origins:
            self.problems.append(
                f"{origins[0]} creates a tensor on the CPU, but {_caller()} combines it with a tensor of the "
                "inputs' device"
            )
        return result

    def start(self, module: nn.Module) -> None:
        """Forget earlier problems, and parameters and buffers, which move to the device with their module."""
        self.problems.clear()
        for tensor in (*module.parameters(), *module.buffers()):
            self._origins.pop(id(tensor), None)

    def _follow(self, result: Any, origin: str) -> None:
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and leaf.dim():
                self._origins[id(leaf)] = leaf, origin


def _caller() -> str:
    """Return the file and line that called torch."""
    frame = sys._getframe(2)  # noqa: SLF001
    while frame.f_back is not None and (
        frame.f_code.co_filename == __file__ or _TORCH in Path(frame.f_code.co_filename).parents
    ):
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
