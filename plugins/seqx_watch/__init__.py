"""Callbacks that show and record a run: console progress, a file of metrics, and TensorBoard."""

import seqx
from seqx_watch.metrics import Metrics
from seqx_watch.progress import ConsoleProgress
from seqx_watch.tensorboard import TensorBoard

__all__ = ["ConsoleProgress", "Metrics", "TensorBoard"]


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    """Register the callbacks of this plugin."""
    registry.add(
        seqx.Callback,
        progress=ConsoleProgress,
        metrics=Metrics,
        optional=seqx.OptionalCallback,
        tensorboard=TensorBoard,
    )
