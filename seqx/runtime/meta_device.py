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

    On this device torch computes with Python functions. Their first call imports torch._dynamo and sympy,
    which takes longer than importing torch. So initial values with a normal distribution are left out in the
    block. A constructor that computes with tensors works, but causes this import.
    """
    with torch.device("meta"), _WithoutNormalValues():
        yield


class _WithoutNormalValues(TorchFunctionMode):
    """Leave tensors as they are instead of filling them with normal values; uniform values need no import."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        settings = kwargs or {}
        if func in (nn.init.normal_, Tensor.normal_):
            return settings["tensor"] if "tensor" in settings else args[0]
        return func(*args, **settings)
