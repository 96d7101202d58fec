"""The meta device, whose tensors have shapes but no values."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


@contextmanager
def meta_device() -> Iterator[None]:
    """Build modules on the meta device, where weights need no memory and initial values no time.

    On this device torch computes with Python functions, which take longer than filling small tensors. Their
    first call may import torch._dynamo and sympy, which takes longer than importing torch. So random initial
    values are left out in the block. A constructor that computes with tensors works, but may cause this
    import.
    """
    with torch.device("meta"), _WithoutRandomValues():
        yield


_RANDOM = frozenset(
    {nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_, Tensor.normal_, Tensor.uniform_}
)


class _WithoutRandomValues(TorchFunctionMode):
    """Leave tensors as they are instead of filling them with normal or uniform values."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        settings = kwargs or {}
        if func in _RANDOM:
            return settings["tensor"] if "tensor" in settings else args[0]
        return func(*args, **settings)
