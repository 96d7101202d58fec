"""Translation: the task, and the corpora of WMT."""

import seqx
from seqx_translation.task import Translation

__all__ = ["Translation"]


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    """Offer this plugin's components."""
    registry.add(seqx.Task, translation=Translation)
