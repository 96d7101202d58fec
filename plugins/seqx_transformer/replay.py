"""Replay of a function on a GPU: its kernels are captured as a CUDA graph, and then launched together."""

import contextlib
import logging
from collections.abc import Callable
from functools import cache
from typing import ClassVar
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import Tensor

log = logging.getLogger("seqx.transformer")

WARM_UP = 3
"""The number of calls before the capture, in which libraries choose kernels and caches are allocated."""

Function = Callable[[], Tensor]


class Replayed:
    """Repeated calls of one function, which writes into the same tensors of the same shapes in each call.

    After a few calls, the kernels of the function are captured, and from then on replayed. A function that
    waits for the device cannot be captured. It is then called each time, as are all later functions of its
    owner, and a warning says why. The next call overwrites the result.

    Args:
        owner: the object whose code the function runs
        device: the device
    """

    # The last graph of each owner. It keeps the memory for intermediate results, which the next one uses.
    _last: ClassVar[WeakKeyDictionary[object, torch.cuda.CUDAGraph]] = WeakKeyDictionary()
    _failed: ClassVar[WeakSet[object]] = WeakSet()  # owners whose functions cannot be captured

    def __init__(self, owner: object, device: torch.device) -> None:
        self._owner = owner
        self._device = device
        self._calls = 0
        self._captured: tuple[torch.cuda.CUDAGraph, Tensor] | None = None

    def __call__(self, function: Function) -> Tensor:
        """Return the result of the function, which must be the same one in each call."""
        if self._calls == WARM_UP and self._owner not in self._failed:
            self._capture(function)
        self._calls += 1
        if self._captured is None:
            return function()
        graph, result = self._captured
        graph.replay()
        return result

    def _capture(self, function: Function) -> None:
        """Capture the function, which changes no tensors now; or report why it cannot be captured."""
        last = self._last.get(self._owner)
        try:
            self._captured = capture(function, self._device, last)
        except torch.OutOfMemoryError:
            raise  # a smaller batch can be captured
        except RuntimeError as error:
            self._failed.add(self._owner)
            reason = str(error.__context__ or error).partition("\n")[0]
            warn(f"decoding without CUDA graphs, because a step cannot be captured: {reason}")
        else:
            self._last[self._owner] = self._captured[0]


def capture(
    function: Function, device: torch.device, last: torch.cuda.CUDAGraph | None
) -> tuple[torch.cuda.CUDAGraph, Tensor]:
    """Capture the kernels of a function without running them; return the graph, and the tensor of the result.

    `torch.cuda.graph` does the same, but waits for the device and empties the cache of its memory first. Here
    that is done only if memory is short, because the allocator frees no cached memory during a capture.

    Args:
        function: the function
        device: the device of its tensors
        last: an earlier graph, whose memory for intermediate results is used; None: there is none

    Raises:
        OutOfMemoryError: the intermediate results do not fit into memory
        RuntimeError: the function cannot be captured; the context of the error is the reason
    """
    with contextlib.suppress(torch.OutOfMemoryError):
        return _capture(function, device, last)
    torch.cuda.empty_cache()
    return _capture(function, device, last)


def _capture(
    function: Function, device: torch.device, last: torch.cuda.CUDAGraph | None
) -> tuple[torch.cuda.CUDAGraph, Tensor]:
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.stream(capture_stream(device)):
        # Other threads may use the device meanwhile, for example to pin memory.
        graph.capture_begin(None if last is None else last.pool(), capture_error_mode="thread_local")
        try:
            result = function()
        finally:
            graph.capture_end()
    return graph, result


@cache
def capture_stream(device: torch.device) -> torch.cuda.Stream:
    """Return the stream for all captures on a device: memory of one stream is not used by another."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


@cache
def warn(message: str) -> None:
    """Log a warning, unless it was logged before."""
    log.warning(message)
