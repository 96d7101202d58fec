"""Schedules against the formulas of papers and against torch's schedulers."""

import math

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR

import seqx
from seqx_training import Constant, CosineDecay, InverseSquareRoot, LinearDecay, WarmupStableDecay


@pytest.mark.parametrize("step", [1, 2, 3999, 4000, 4001, 100_000])
def test_inverse_square_root_follows_the_paper(step: int) -> None:
    paper = 512**-0.5 * min(step**-0.5, step * 4000**-1.5)
    assert InverseSquareRoot(warmup=4000, peak=(512 * 4000) ** -0.5)(step, 1) == pytest.approx(
        paper, rel=1e-12
    )
    assert InverseSquareRoot()(step, 1) == pytest.approx(paper, rel=1e-3)


def test_inverse_square_root_known_values() -> None:
    schedule = InverseSquareRoot(warmup=4000, peak=6.99e-4)
    assert schedule(1, 1) == pytest.approx(1.7475e-7)
    assert schedule(4000, 1) == 6.99e-4
    assert schedule(100_000, 1) == pytest.approx(1.398e-4)


def test_constant_schedule_after_warmup() -> None:
    schedule = Constant(rate=0.5, warmup=4)
    assert [schedule(step, 1) for step in (1, 2, 4, 5, 1000)] == [0.125, 0.25, 0.5, 0.5, 0.5]
    assert Constant(rate=0.5)(1, 1) == 0.5


def rates_of_torch(decay: str, warmup: int, steps: int, floor: float) -> list[float]:
    """Return the learning rate of each update from torch's schedulers, one after the other."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    warmup_schedule = LinearLR(optimizer, 1 / warmup, 1.0, warmup - 1)
    length = steps + 1 - warmup
    decay_schedule: LRScheduler = (
        CosineAnnealingLR(optimizer, length, eta_min=floor)
        if decay == "cosine"
        else LinearLR(optimizer, 1.0, floor, length)
    )
    schedule, rates = SequentialLR(optimizer, [warmup_schedule, decay_schedule], [warmup - 1]), []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step:UserWarning")
@pytest.mark.parametrize("floor", [0.0, 0.1])
@pytest.mark.parametrize(("warmup", "steps"), [(2, 9), (10, 50), (20, 21)])
def test_warmup_and_decay_equal_torchs_schedulers(warmup: int, steps: int, floor: float) -> None:
    for name, schedule in (
        ("cosine", CosineDecay(warmup=warmup, peak=1.0, floor=floor)),
        ("linear", LinearDecay(warmup=warmup, peak=1.0, floor=floor)),
    ):
        rates = [schedule(step, steps) for step in range(1, steps + 1)]
        assert rates == pytest.approx(rates_of_torch(name, warmup, steps, floor), rel=1e-6), name


def test_cosine_decay_known_values() -> None:
    schedule = CosineDecay(warmup=100, peak=0.2, floor=0.5)
    # The warm-up has 100 updates. The decay has 900 steps, the last of which would be update 1000.
    assert schedule(50, 999) == pytest.approx(0.1)
    assert schedule(100, 999) == pytest.approx(0.2)
    assert schedule(550, 999) == pytest.approx(0.15)
    assert schedule(400, 999) == pytest.approx(0.2 * (0.5 + 0.25 * (1 + math.cos(math.pi / 3))))
    assert schedule(999, 999) == pytest.approx(0.1, rel=1e-4)


def test_wsd_warms_up_stays_and_decays() -> None:
    schedule = WarmupStableDecay(warmup=10, peak=2.0, decay=0.1, shape="linear")
    rates = [schedule(step, 1000) for step in range(1, 1001)]
    assert rates[:10] == pytest.approx([0.2 * step for step in range(1, 11)])
    assert set(rates[10:900]) == {2.0}
    assert rates[900:] == pytest.approx([2.0 * (101 - late) / 101 for late in range(1, 101)])
    root = WarmupStableDecay(warmup=10, peak=2.0, decay=0.1, floor=0.2)
    assert root(900, 1000) == 2.0
    for late in (1, 25, 100):
        factor = 1 - math.sqrt(late / 101)
        assert root(900 + late, 1000) == pytest.approx(2.0 * (0.2 + 0.8 * factor))


def test_wsd_before_its_decay_does_not_depend_on_steps() -> None:
    schedule = WarmupStableDecay(warmup=10, decay=0.1)
    assert all(schedule(step, 1000) == schedule(step, 5000) for step in range(1, 901))
    assert schedule(901, 1000) < schedule(901, 5000)


@pytest.mark.parametrize(
    "schedule", [CosineDecay(warmup=50), LinearDecay(warmup=50), WarmupStableDecay(warmup=50)]
)
@pytest.mark.parametrize("steps", [1, 7, 40, 50, 51])
def test_schedules_are_positive_in_runs_shorter_than_the_warmup(schedule: seqx.Schedule, steps: int) -> None:
    rates = [schedule(step, steps) for step in range(1, steps + 1)]
    assert all(0 < rate <= 6.99e-4 for rate in rates)
    assert rates[0] <= 6.99e-4 / 50
