"""Compare the component with its formula."""

import pytest

from seqx_newcomer import Newcomer


def test_rate_warms_up_and_decays() -> None:
    rate = Newcomer(warmup=10, peak=1.0, least=0.2, power=2.0)
    assert rate(5, 110) == 0.5
    assert rate(10, 110) == 1.0
    assert rate(60, 110) == pytest.approx(0.25)
    assert rate(110, 110) == 0.2
    falling = [rate(step, 110) for step in range(10, 111)]
    assert falling == sorted(falling, reverse=True)


def test_inconsistent_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="is above"):
        Newcomer(peak=1e-3, least=1e-2)
