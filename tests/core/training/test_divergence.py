"""Trouble is noticed late, without waiting, and always the same."""

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
    """Batches of an epoch of 10 updates."""
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


def found(watch: DivergenceDetector, updates: Iterable[Update]) -> tuple[int, Divergence] | None:
    """After how many updates trouble was noticed."""
    for many, one in enumerate(updates, 1):
        trouble = watch.add(one)
        if trouble is not None:
            return many, trouble
    trouble = watch.flush()
    return None if trouble is None else (0, trouble)


def steps(trouble: Divergence) -> list[int]:
    return [mark.step for mark in trouble.updates]


@pytest.mark.promise("nonfinite-updates-are-detected")
@pytest.mark.parametrize("start", range(1, 40))
def test_detector_reports_too_many_nonfinite_updates_in_a_row(start: int) -> None:
    course = [update(step, NAN if start <= step else 1.0) for step in range(1, 100)]
    seen = found(DivergenceDetector(nonfinite=3, spike=None), course)
    assert seen is not None
    many, trouble = seen
    assert steps(trouble) == [start, start + 1, start + 2, start + 3]
    assert start + 3 <= many <= start + 3 + 32
    batch, epoch = (start + 2) % 10 + 1, (start + 2) // 10 + 1
    assert str(trouble) == (
        f"update {start + 3} (batch {batch} of epoch {epoch}): the loss or the gradient was not finite "
        f"4 times in a row, from update {start} on"
    )


def test_detector_accepts_the_allowed_number_of_nonfinite_updates() -> None:
    course = [update(step, NAN if step % 4 else 1.0) for step in range(1, 100)]
    assert found(DivergenceDetector(nonfinite=3, spike=None), course) is None
    assert found(DivergenceDetector(nonfinite=2, spike=None), course) is not None


def test_detector_finds_the_same_divergence_when_flushed_after_each_update() -> None:
    watch = DivergenceDetector(nonfinite=0, spike=None)
    assert watch.add(update(1)) is None
    assert watch.flush() is None
    assert watch.add(update(2, NAN)) is None
    trouble = watch.flush()
    assert trouble is not None
    assert steps(trouble) == [2]
    assert str(trouble) == "update 2 (batch 2 of epoch 1): the loss or the gradient was not finite"


@pytest.mark.promise("spikes-are-detected")
@pytest.mark.parametrize(
    ("course", "expected"),
    [
        ([(1, 5)] * 4 + [(11, 5), (11, 5)], [5, 6]),
        ([(1, 5)] * 4 + [(1, 11), (11, 5)], [5, 6]),
        ([(1, 5)] * 4 + [(9, 9)] * 9, None),
        ([(1, 5)] * 3 + [(11, 5), (11, 5)], None),  # nothing is usual yet
        ([(1, 5)] * 4 + [(11, 5), (1, 5)] * 9, None),  # never two in a row
        ([(1, 5)] * 4 + [(11, 5), (NAN, 5), (11, 5)], [5, 7]),  # what is skipped does not count
        ([(1, 5)] * 4 + [(2, 5)] * 9 + [(19, 5)] * 2, None),  # by then 2 is usual
        ([(1, 5)] * 9 + [(2, 5)] + [(11, 5)] * 2, [11, 12]),
    ],
)
def test_detector_finds_spikes(course: list[tuple[float, float]], expected: list[int] | None) -> None:
    seen = found(
        DivergenceDetector(nonfinite=9, spike=SPIKE),
        (update(step, norm, loss) for step, (norm, loss) in enumerate(course, 1)),
    )
    assert (steps(seen[1]) if seen else None) == expected
    if seen:
        assert "the loss or the gradient was far above the median (training.spike) 2 times" in str(seen[1])


def test_detector_resumes_from_its_state() -> None:
    course = [update(step, norm) for step, norm in enumerate([1.0] * 4 + [NAN] + [11.0] * 3, 1)]
    for cut in range(1, 7):
        whole, again = (DivergenceDetector(nonfinite=1, spike=SPIKE) for _ in range(2))
        assert found(whole, course[:cut]) is None
        again.load_state_dict(json.loads(json.dumps(whole.state_dict())))
        one, other = found(whole, course[cut:]), found(again, course[cut:])
        assert one == other
        assert one is not None
        assert steps(one[1]) == [6, 7]
        again.reset()
        assert again.state_dict() == DivergenceDetector(nonfinite=1, spike=SPIKE).state_dict()


def test_detector_must_be_flushed_before_it_is_saved() -> None:
    watch = DivergenceDetector(nonfinite=1, spike=None)
    watch.add(update(1))
    with pytest.raises(AssertionError, match="flush comes first"):
        watch.state_dict()
