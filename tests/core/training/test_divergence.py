"""The detector finds divergences some updates later, and always the same ones."""

import json
import math
from collections.abc import Iterable

import pytest
import torch

from seqx.data.loader import Position
from seqx.training.config import Spike
from seqx.training.recovery.divergence import Divergence, DivergenceDetector
from seqx.training.update import Update

NAN = float("nan")
SPIKE = Spike(norm=10, loss=2, updates=2, window=4)


def update(step: int, norm: float = 1.0, loss: float = 5.0) -> Update:
    """Return an update in a run with 10 updates per epoch; a norm of NaN makes it a skipped one."""
    at = Position((step - 1) // 10, (step - 1) % 10)
    skipped = math.isnan(norm)
    return Update(
        step=step,
        sums={},
        counts={},
        tokens=1,
        padding=0.0,
        at=at,
        then=Position(at.epoch, at.index + 1),
        learning_rate=1.0,
        norm=torch.tensor(norm),
        seconds=0.1,
        skipped=torch.tensor(skipped),
        oom_retries=0,
        health=torch.tensor([float(skipped), norm, loss]),
    )


def detect(detector: DivergenceDetector, updates: Iterable[Update]) -> tuple[int, Divergence] | None:
    """Return the divergence, and the number of updates after which it was found (0: by `flush`)."""
    for count, each in enumerate(updates, 1):
        divergence = detector.add(each)
        if divergence is not None:
            return count, divergence
    divergence = detector.flush()
    return None if divergence is None else (0, divergence)


def steps(divergence: Divergence) -> list[int]:
    return [ref.step for ref in divergence.updates]


@pytest.mark.promise("nonfinite-updates-are-detected")
@pytest.mark.parametrize("start", range(1, 40))
def test_detector_reports_too_many_nonfinite_updates_in_a_row(start: int) -> None:
    all_updates = [update(step, NAN if start <= step else 1.0) for step in range(1, 100)]
    detected = detect(DivergenceDetector(nonfinite=3, spike=None), all_updates)
    assert detected is not None
    count, divergence = detected
    assert steps(divergence) == [start, start + 1, start + 2, start + 3]
    assert start + 3 <= count <= start + 3 + 32
    batch, epoch = (start + 2) % 10 + 1, (start + 2) // 10 + 1
    assert str(divergence) == (
        f"update {start + 3} (batch {batch} of epoch {epoch}): the loss or the gradient was not finite "
        f"4 times in a row, from update {start} on"
    )


def test_detector_accepts_the_allowed_number_of_nonfinite_updates() -> None:
    all_updates = [update(step, NAN if step % 4 else 1.0) for step in range(1, 100)]
    assert detect(DivergenceDetector(nonfinite=3, spike=None), all_updates) is None
    assert detect(DivergenceDetector(nonfinite=2, spike=None), all_updates) is not None


def test_detector_finds_the_same_divergence_when_flushed_after_each_update() -> None:
    detector = DivergenceDetector(nonfinite=0, spike=None)
    assert detector.add(update(1)) is None
    assert detector.flush() is None
    assert detector.add(update(2, NAN)) is None
    divergence = detector.flush()
    assert divergence is not None
    assert steps(divergence) == [2]
    assert str(divergence) == "update 2 (batch 2 of epoch 1): the loss or the gradient was not finite"


@pytest.mark.promise("spikes-are-detected")
@pytest.mark.parametrize(
    ("norms_and_losses", "expected"),
    [
        ([(1, 5)] * 4 + [(11, 5), (11, 5)], [5, 6]),
        ([(1, 5)] * 4 + [(1, 11), (11, 5)], [5, 6]),
        ([(1, 5)] * 4 + [(9, 9)] * 9, None),
        ([(1, 5)] * 3 + [(11, 5), (11, 5)], None),  # the window is not full yet
        ([(1, 5)] * 4 + [(11, 5), (1, 5)] * 9, None),  # never two in a row
        (
            [(1, 5)] * 4 + [(11, 5), (NAN, 5), (11, 5)],
            [5, 7],
        ),  # a skipped update does not interrupt the series
        ([(1, 5)] * 4 + [(2, 5)] * 9 + [(19, 5)] * 2, None),  # the median has become 2
        ([(1, 5)] * 9 + [(2, 5)] + [(11, 5)] * 2, [11, 12]),
    ],
)
def test_detector_finds_spikes(
    norms_and_losses: list[tuple[float, float]], expected: list[int] | None
) -> None:
    detected = detect(
        DivergenceDetector(nonfinite=9, spike=SPIKE),
        (update(step, norm, loss) for step, (norm, loss) in enumerate(norms_and_losses, 1)),
    )
    assert (steps(detected[1]) if detected else None) == expected
    if detected:
        assert "the loss or the gradient was far above the median (training.spike) 2 times" in str(
            detected[1]
        )


def test_detector_resumes_from_its_state() -> None:
    all_updates = [update(step, norm) for step, norm in enumerate([1.0] * 4 + [NAN] + [11.0] * 3, 1)]
    for cut in range(1, 7):
        first, resumed = (DivergenceDetector(nonfinite=1, spike=SPIKE) for _ in range(2))
        assert detect(first, all_updates[:cut]) is None
        resumed.load_state_dict(json.loads(json.dumps(first.state_dict())))
        expected = detect(first, all_updates[cut:])
        assert expected is not None
        assert steps(expected[1]) == [6, 7]
        assert detect(resumed, all_updates[cut:]) == expected
        resumed.reset()
        assert resumed.state_dict() == DivergenceDetector(nonfinite=1, spike=SPIKE).state_dict()


def test_detector_must_be_flushed_before_it_is_saved() -> None:
    detector = DivergenceDetector(nonfinite=1, spike=None)
    detector.add(update(1))
    with pytest.raises(AssertionError, match="flush comes first"):
        detector.state_dict()
