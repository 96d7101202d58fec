"""The task of recognising tones."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import seqx
from annotated_types import Gt
from numpy.typing import ArrayLike

from seqx_tones.melodies import NOTES
from seqx_tones.spectrum import FEATURES, spectrum

_FIRST = seqx.UNK + 1  # the id of the first note; ids below are padding, BOS, EOS and unknown


@dataclass(kw_only=True, eq=False)
class Tones(seqx.GenerationTask, seqx.MetricTask):
    """Recognition of tones: the source is the spectrum of a sound, the target the names of its notes.

    Args:
        hop: number of samples between two frames of the spectrum; a smaller number gives more frames
        max_length: largest number of frames of a training sound; longer ones are dropped
    """

    input_type: ClassVar[type] = object  # lists and arrays of samples

    hop: Annotated[int, Gt(0)] = 128
    max_length: Annotated[int, Gt(1)] = 2000

    @property
    def vocab_sizes(self) -> Mapping[str, int]:
        """The number of features of a frame, and the number of symbols of the target."""
        return {"source": seqx.Features(FEATURES), "target": _FIRST + len(NOTES)}

    def learn(self, folder: Path, progress: seqx.ProgressReporter) -> None:
        """Do nothing: the notes are known."""

    def load(self, folder: Path) -> None:
        """Do nothing: the notes are known."""

    def rows(self, split: str) -> Iterator[tuple[Any, ...]]:
        """Return sounds and the names of their notes."""
        return self.corpus.rows(split)

    def example(self, row: tuple[Any, ...], *, training: bool) -> seqx.Example | seqx.Rejected:
        """Return the spectrum of a sound, and the ids of its notes with EOS."""
        sound, notes = row
        columns = self.read(sound)
        if training and len(columns["source"]) > self.max_length:
            return seqx.Rejected("too long")
        ids = [_FIRST + NOTES.index(note) for note in notes.split()]
        return seqx.Example(columns={**columns, "target": [*ids, seqx.EOS]})

    def read(self, source: ArrayLike) -> Mapping[str, seqx.Values]:
        """Return the spectrum of a sound."""
        return {"source": spectrum(source, self.hop)}

    def write(self, ids: Sequence[int], source: ArrayLike, labels: Mapping[str, Sequence[int]]) -> str:
        """Return the names of notes."""
        return " ".join(NOTES[i - _FIRST] for i in ids if i >= _FIRST)
