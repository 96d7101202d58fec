"""Simulation of CUDA graphs: the operations of the capture are recorded, and computed again by a replay."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import _disable_current_modes

from tests.simulated_gpu.backend import Active


class SimulatedGraph:
    """The operations of a capture on CPU tensors.

    As on a GPU, the capture changes no tensors, and a replay computes with the tensors of the capture: it
    executes no Python code, and does not know tensors that were replaced since then.
    """

    def __init__(self) -> None:
        self._operations: list[tuple[Callable[[], Any], Any]] = []
        self._before: list[tuple[Tensor, Tensor]] = []  # changed tensors, and copies of them
        self.begun_with: Any = None  # the pool

    def capture_begin(self, pool: Any = None, capture_error_mode: str = "global") -> None:
        assert capture_error_mode in ("global", "thread_local", "relaxed")
        self.begun_with = pool
        Active.get().graph = self

    def capture_end(self) -> None:
        Active.get().graph = None
        for tensor, before in reversed(self._before):
            tensor.copy_(before)

    def pool(self) -> Any:
        return self.begun_with or (0, id(self))

    def will_change(self, tensors: Sequence[Tensor]) -> None:
        """Note tensors before an operation changes them."""
        self._before += [(tensor, tensor.clone()) for tensor in tensors]

    def record(self, compute: Callable[[], Any], out: Any) -> None:
        """Record an operation and its result."""
        self._operations.append((compute, out))

    def replay(self) -> None:
        Active.get().graph_replayed(len(self._operations))
        with _disable_current_modes(), torch._C.DisableTorchFunction(), torch.no_grad():
            for compute, out in self._operations:
                new = compute()
                if isinstance(out, Tensor):
                    _replace(out, new)
                else:
                    for pair in zip(pytree.tree_leaves(out), pytree.tree_leaves(new), strict=True):
                        _replace(*pair)


def _replace(old: Any, new: Any) -> None:
    """If `old` is a tensor, copy `new` to its memory, unless they share it."""
    if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
        old.copy_(new)
