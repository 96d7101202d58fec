"""Parsers of untrusted bytes return a value or raise a UserError, in bounded time and memory."""

import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.harnesses import HARNESSES, run_harness
from tests.fuzz.seeds import SEEDS

pytestmark = pytest.mark.promise("parsers-survive-any-bytes")

FAILED_INPUTS = Path(__file__).parent / "found"
MAX_MEGABYTES = 64
EXAMPLES = 60


def mutated(seed: bytes) -> st.SearchStrategy[bytes]:
    """Draw a seed with a few changes: bytes are replaced, removed, inserted or repeated."""
    offsets = st.integers(0, len(seed))
    change = st.tuples(offsets, st.integers(0, 12), st.binary(max_size=6), st.integers(1, 3))
    return st.lists(change, max_size=4).map(lambda changes: _applied(seed, changes))


def _applied(seed: bytes, changes: list[tuple[int, int, bytes, int]]) -> bytes:
    for offset, length, inserted, times in changes:
        seed = seed[:offset] + inserted * times + seed[offset + length :]
    return seed


@pytest.mark.parametrize("name", HARNESSES)
def test_harness_ends_with_a_value_or_a_user_error(name: str) -> None:
    inputs = st.binary(max_size=200) | st.one_of([mutated(seed) for seed in SEEDS[name]])

    @settings(max_examples=EXAMPLES, deadline=2000, suppress_health_check=[HealthCheck.too_slow])
    @given(inputs)
    def examine(data: bytes) -> None:
        run_harness(name, data)

    examine()


@pytest.mark.parametrize(
    "file", sorted(FAILED_INPUTS.glob("*/*")), ids=lambda file: f"{file.parent.name}-{file.name}"
)
def test_inputs_that_failed_in_the_past_are_handled(file: Path) -> None:
    tracemalloc.start()
    try:
        run_harness(file.parent.name, file.read_bytes())
        assert tracemalloc.get_traced_memory()[1] < MAX_MEGABYTES << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "name", sorted(HARNESSES.keys() - {"about", "checkpoint"})
)  # their seeds are files of different types
def test_valid_inputs_are_accepted(name: str) -> None:
    HARNESSES[name](SEEDS[name][0])
