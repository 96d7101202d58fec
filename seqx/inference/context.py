"""Context managers of inference: the mode of a model, and ranks that stop together."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from seqx.interfaces.networks import Model
from seqx.parallel import World
from seqx.runtime.devices import autocast
from seqx.runtime.signals import Stopped


@contextmanager
def inference_mode(model: Model, device: torch.device, precision: Literal["bf16", "fp32"]) -> Iterator[None]:
    """Put a model into evaluation mode, without gradients and in a precision, while the block runs.

    This is not `torch.inference_mode`, in which autocast would convert each weight again for each token.
    """
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), autocast(device, precision):
            yield
    finally:
        model.train(training)


@contextmanager
def stop_together(world: World) -> Iterator[None]:
    """Raise `Stopped` on all ranks after the block if a signal stopped one of them in the block.

    All ranks must enter and leave the block the same number of times, because they exchange messages.
    """
    received: signal.Signals | None = None
    try:
        yield
    except Stopped as stopped:
        if world.size == 1:
            raise
        received = stopped.signal
    for other in world.all_gather(received):
        if other is not None:
            raise Stopped(other)
