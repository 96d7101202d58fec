"""A stream of pairs, shared by all tests of the sample."""

from itertools import islice

import pytest

from seqx_sample.generate import Pair, pairs


@pytest.fixture(scope="session")
def stream() -> list[Pair]:
    """Return the first pairs of seed 1, enough for all splits of the default size."""
    return list(islice(pairs(1), 22_500))
