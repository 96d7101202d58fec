"""Learning rates against the paper's formula."""

import pytest

from seqx_training import Constant, InverseSquareRoot


@pytest.mark.parametrize("step", [1, 2, 3999, 4000, 4001, 100_000])
def test_the_papers_learning_rate(step: int) -> None:
    paper = 512**-0.5 * min(step**-0.5, step * 4000**-1.5)
    assert InverseSquareRoot(warmup=4000, peak=(512 * 4000) ** -0.5)(step) == pytest.approx(paper, rel=1e-12)
    assert InverseSquareRoot()(step) == pytest.approx(paper, rel=1e-3)


def test_known_values() -> None:
    schedule = InverseSquareRoot(warmup=4000, peak=6.99e-4)
    assert schedule(1) == pytest.approx(1.7475e-7)
    assert schedule(4000) == 6.99e-4
    assert schedule(100_000) == pytest.approx(1.398e-4)


def test_constant_after_its_rise() -> None:
    schedule = Constant(rate=0.5, warmup=4)
    assert [schedule(step) for step in (1, 2, 4, 5, 1000)] == [0.125, 0.25, 0.5, 0.5, 0.5]
    assert Constant(rate=0.5)(1) == 0.5
