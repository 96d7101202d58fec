"""A corpus of random melodies, as sounds with noise."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import seqx
from annotated_types import Ge, Gt
from numpy.typing import NDArray

NOTES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
RATE = 4000  # samples per second
_MIDDLE_C = 261.63  # Hz
_HARMONICS = 3
_FADE = 40  # samples in which a note becomes louder or quieter
_GAP = 120  # samples of silence after a note


@dataclass(kw_only=True)
class Melodies(seqx.Corpus):
    """Rows of a sound, float32 [samples], and the names of its notes. Nothing is downloaded.

    A note lasts 0.1 to 0.25 seconds, and has a random loudness, phase and mixture of harmonics.

    Args:
        train: number of training rows
        dev: number of development rows
        test: number of test rows
        shortest: smallest number of notes of a melody
        longest: largest number of notes of a melody
        noise: standard deviation of the noise; the loudness of a note is about 0.5
        seed: seed of the melodies and the noise
    """

    train: Annotated[int, Gt(0)] = 2000
    dev: Annotated[int, Gt(0)] = 100
    test: Annotated[int, Gt(0)] = 100
    shortest: Annotated[int, Gt(0)] = 2
    longest: Annotated[int, Gt(0)] = 6
    noise: Annotated[float, Ge(0)] = 0.2
    seed: int = 1

    def fetch(
        self, folder: Path, progress: seqx.ProgressReporter, splits: Sequence[str] = seqx.SPLITS
    ) -> None:
        """Do nothing: the melodies are computed."""

    def identity(self) -> Mapping[str, object]:
        """Return the settings, which determine all rows."""
        return {"melodies": 1, **asdict(self)}

    def rows(self, split: str) -> Iterator[tuple[Any, ...]]:
        """Yield sounds and the names of their notes."""
        number = seqx.SPLITS.index(split)
        for i in range((self.train, self.dev, self.test)[number]):
            rng = np.random.default_rng([self.seed, number, i])
            notes = rng.integers(len(NOTES), size=rng.integers(self.shortest, self.longest + 1))
            yield self._sound(notes, rng), " ".join(NOTES[note] for note in notes)

    def _sound(self, notes: NDArray[np.integer[Any]], rng: np.random.Generator) -> NDArray[np.float32]:
        silence = np.zeros(_GAP)
        parts = [part for note in notes for part in (_tone(int(note), rng), silence)]
        clean = np.concatenate([silence, *parts])
        return (clean + rng.normal(scale=self.noise, size=len(clean))).astype(np.float32)


def _tone(note: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the sound of one note, a number of semitones above middle C."""
    length = int(rng.uniform(0.1, 0.25) * RATE)
    seconds, frequency = np.arange(length) / RATE, _MIDDLE_C * 2 ** (note / len(NOTES))
    sound = np.zeros(length)
    for harmonic in range(1, _HARMONICS + 1):
        phase = rng.uniform(0, 2 * np.pi)
        sound += rng.uniform(0.5, 1) / harmonic * np.sin(2 * np.pi * harmonic * frequency * seconds + phase)
    edge = np.minimum(np.arange(length), np.arange(length)[::-1])
    loudness: float = rng.uniform(0.3, 0.7)
    return loudness * sound * np.minimum(1, edge / _FADE)
