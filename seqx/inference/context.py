"""Context managers of inference: evaluation mode, and a common stop of all ranks."""

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
    """Run the block with a model in evaluation mode, without gradients, and in the given precision.

    This does not use `torch.inference_mode`, in which autocast converts every weight again for every token.
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
    """Raise `Stopped` on all ranks after the block if a signal stops one of them inside it.

    All ranks must run the block equally often, because they exchange their signals after it.
    """
    received: signal.Signals | None = None
    try:
        yield
    except Stopped as stopped:
        if world.size == 1:
            raise
        received = stopped.signal
    for received_by_rank in world.all_gather(received):
        if received_by_rank is not None:
            raise Stopped(received_by_rank)
