"""The paired bootstrap test of means, against known cases."""

import numpy as np
import pytest

from seqx.interfaces.paired_bootstrap import paired_bootstrap


def test_equal_scores_are_not_significantly_different() -> None:
    assert paired_bootstrap([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], 200).p_value == 1.0


def test_constant_difference_has_the_smallest_p_value() -> None:
    result = paired_bootstrap([1.0, 2.0, 3.0], [2.0, 3.0, 4.0], 199)
    assert result.p_value == 1 / 200
    assert result.signature == "means of sentences|bs:199|seed:12345"


def test_p_value_of_the_bootstrap_is_close_to_that_of_the_normal_distribution() -> None:
    """A mean that is 1.96 standard errors away from 0 has a two-sided p-value of 0.05."""
    noise = np.random.default_rng(1).normal(size=4000)
    noise -= noise.mean()
    shift = 1.96 * noise.std() / 4000**0.5
    result = paired_bootstrap([0.0] * 4000, [*(noise + shift)], 4000)
    assert result.p_value == pytest.approx(0.05, abs=0.012)
