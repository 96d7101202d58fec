"""The melodies, their spectrum, and the error rate."""

import numpy as np
import pytest
import seqx
from numpy.typing import ArrayLike

from seqx_tones import Melodies, NoteErrorRate, Tones
from seqx_tones.error_rate import edit_distance
from seqx_tones.melodies import NOTES, RATE
from seqx_tones.spectrum import FEATURES, spectrum


def test_melodies_have_the_requested_numbers_of_notes() -> None:
    corpus = Melodies(train=40, shortest=3, longest=5)
    rows = list(corpus.rows("train"))
    assert {len(notes.split()) for _, notes in rows} == {3, 4, 5}
    assert {note for _, notes in rows for note in notes.split()} == set(NOTES)
    for sound, notes in rows:
        assert sound.dtype == np.float32
        assert 0.1 < len(sound) / RATE / len(notes.split()) < 0.32


def test_splits_have_different_melodies() -> None:
    corpus = Melodies(train=20, dev=20, test=20)
    sounds = [sound.tobytes() for split in seqx.SPLITS for sound, _ in corpus.rows(split)]
    assert len(set(sounds)) == 60


def test_spectrum_has_its_maximum_at_the_frequency_of_a_tone() -> None:
    frequency = 440.0
    tone = np.sin(2 * np.pi * frequency * np.arange(1000) / RATE)
    frames = spectrum(tone, 100)
    assert frames.shape == (8, FEATURES)
    assert set(frames.argmax(1).tolist()) == {round(frequency / RATE * 256)}
    assert frames.mean() == pytest.approx(0, abs=1e-5)
    assert frames.std() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("sound", ["C E G", [[0.1], [0.2]], [float("nan")]])
def test_input_that_is_no_sound_is_refused(sound: ArrayLike) -> None:
    with pytest.raises(seqx.UserError, match="must be a sound, a list or array of finite numbers"):
        spectrum(sound, 128)


@pytest.mark.parametrize(
    ("output", "reference", "distance"),
    [("", "C D", 2), ("C D", "C D", 0), ("C E D", "C D", 1), ("D C", "C D", 2), ("G G G", "A", 3)],
)
def test_edit_distance_counts_changes_of_notes(output: str, reference: str, distance: int) -> None:
    assert edit_distance(output.split(), reference.split()) == distance


def test_error_rate_is_a_percentage_of_the_notes_of_the_references() -> None:
    (score,) = NoteErrorRate()(["C D", "E"], ["C D E", "F"]).values()
    assert score.value == 50
    assert score.lower_is_better


def test_long_sounds_are_dropped_from_training_only() -> None:
    corpus = Melodies(train=1, dev=1, test=1)
    task = Tones(corpus=corpus, metrics=[NoteErrorRate()], max_length=2)
    row = next(corpus.rows("train"))
    assert task.example(row, training=True) == seqx.Rejected("too long")
    assert isinstance(task.example(row, training=False), seqx.Example)
