"""Recognition of tones: a corpus of sounds with noise, and a task that writes their notes."""

import seqx

from seqx_tones.error_rate import NoteErrorRate
from seqx_tones.melodies import Melodies
from seqx_tones.task import Tones

__all__ = ["Melodies", "NoteErrorRate", "Tones", "seqx_register"]


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    """Register the task, its corpus and its metric."""
    registry.add(seqx.Task, tones=Tones)
    registry.add(seqx.Corpus, melodies=Melodies)
    registry.add(seqx.Metric, note_error_rate=NoteErrorRate)
