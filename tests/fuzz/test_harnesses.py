"""Bytes of strangers: one message or a value; no crash, no hang, no memory past a bound."""

import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.harnesses import HARNESSES, tried
from tests.fuzz.seeds import SEEDS

pytestmark = pytest.mark.promise("parsers-survive-any-bytes")

FOUND = Path(__file__).parent / "found"
MEGABYTES = 64
EXAMPLES = 60


def changed(seed: bytes) -> st.SearchStrategy[bytes]:
    """A good input with a few changes: bytes replaced, left out, put in, repeated."""
    places = st.integers(0, len(seed))
    change = st.tuples(places, st.integers(0, 12), st.binary(max_size=6), st.integers(1, 3))
    return st.lists(change, max_size=4).map(lambda changes: _applied(seed, changes))


def _applied(seed: bytes, changes: list[tuple[int, int, bytes, int]]) -> bytes:
    for place, length, put, times in changes:
        seed = seed[:place] + put * times + seed[place + length :]
    return seed


@pytest.mark.parametrize("name", HARNESSES)
def test_harness_ends_with_a_value_or_a_user_error(name: str) -> None:
    inputs = st.binary(max_size=200) | st.one_of([changed(seed) for seed in SEEDS[name]])

    @settings(max_examples=EXAMPLES, deadline=2000, suppress_health_check=[HealthCheck.too_slow])
    @given(inputs)
    def examine(data: bytes) -> None:
        tried(name, data)

    examine()


@pytest.mark.parametrize(
    "file", sorted(FOUND.glob("*/*")), ids=lambda file: f"{file.parent.name}-{file.name}"
)
def test_inputs_that_once_failed_stay_fixed(file: Path) -> None:
    tracemalloc.start()
    try:
        tried(file.parent.name, file.read_bytes())
        assert tracemalloc.get_traced_memory()[1] < MEGABYTES << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", sorted(HARNESSES.keys() - {"about", "checkpoint"}))  # bytes for three
def test_valid_inputs_are_accepted(name: str) -> None:
    HARNESSES[name](SEEDS[name][0])
