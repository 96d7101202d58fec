"""The task of translation, and the corpora of WMT."""

import seqx
from seqx_translation.archive import Archive
from seqx_translation.task import Translation
from seqx_translation.wmt14 import Wmt14

__all__ = ["Archive", "Translation", "Wmt14"]


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    """Register the components of this plugin."""
    registry.add(seqx.Corpus, wmt14=Wmt14)
    registry.add(seqx.Task, translation=Translation)
