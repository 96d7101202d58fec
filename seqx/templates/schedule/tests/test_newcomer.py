"""What it computes, against its formula."""

import pytest

from seqx_newcomer import Newcomer


def test_it_rises_falls_and_stays() -> None:
    rate = Newcomer(steps=110, warmup=10, peak=1.0, least=0.2)
    assert rate(5) == 0.5
    assert rate(10) == 1.0
    assert rate(60) == pytest.approx(0.6)
    assert rate(110) == pytest.approx(0.2)
    assert rate(1000) == pytest.approx(0.2)
    falling = [rate(step) for step in range(10, 110)]
    assert falling == sorted(falling, reverse=True)


@pytest.mark.parametrize("settings", [{"steps": 10, "warmup": 10}, {"peak": 1e-3, "least": 1e-2}])
def test_settings_at_odds_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"must end before|is above"):
        Newcomer(**settings)
