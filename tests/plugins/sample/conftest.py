"""One stream of pairs for all tests of the sample."""

from itertools import islice

import pytest

from seqx_sample.generate import Pair, pairs


@pytest.fixture(scope="session")
def stream() -> list[Pair]:
    """The first pairs of seed 1, enough to fill every split of the default size."""
    return list(islice(pairs(1), 22_500))
