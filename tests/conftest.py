"""What all tests share: one thread, seeds, and the way to real data."""

import os
import signal
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import pytest
import torch

import seqx_sample.corpus
from seqx_sample.generate import Pair, Split, take

TESTS = Path(__file__).parent

# Files whose tests take seconds each, or minutes in all, slowest first. `make test-quick` leaves them out.
# pytest-xdist begins with them, so that no worker is left alone with one at the end.
SLOW = (
    "docs/test_listings.py",
    "stories/test_devices.py",
    "test_outside.py",
    "stories/test_stopping.py",
    "test_killing.py",
    "test_gpu_benchmark.py",
    "test_comparing_benchmarks.py",
    "test_benchmarks.py",
    "test_packaging.py",
    "docs/test_generated.py",
    "test_table3.py",
    "core/commands/test_new.py",
    "core/parallel",
    "plugins/test_mixtures.py",
    "plugins/test_bf16.py",
    "fuzz",
    "laws/test_first_party.py",
    "laws",
    "stories",
    "pretended",
)


def pytest_configure(config: pytest.Config) -> None:
    # A separate cache, which the workers share: tests neither need nor use the cache of the home folder.
    if not os.environ.get("SEQX_CACHE"):
        cache = tempfile.TemporaryDirectory(prefix="seqx-cache-")
        os.environ["SEQX_CACHE"] = cache.name
        config.add_cleanup(cache.cleanup)
    # A job in the background starts deaf to interrupts, and so do its children: those that a test interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    rank = {item: slowness(item.path) for item in items}
    for item, place in rank.items():
        if place < len(SLOW):
            item.add_marker(pytest.mark.slow)
    missing = [slow for slow in SLOW if not TESTS.joinpath(slow).exists()]
    assert not missing, f"tests/conftest.py lists slow tests that are not there: {missing}"
    if hasattr(config, "workerinput"):  # several workers share the files
        items.sort(key=lambda item: rank[item])


@cache
def slowness(file: Path) -> int:
    """Return the place in the list of slow files, and the length of the list for a file that is not there."""
    name = str(file.relative_to(TESTS))
    return next((place for place, slow in enumerate(SLOW) if name.startswith(slow)), len(SLOW))


@pytest.fixture
def data() -> Callable[[str], Path]:
    """Where real data lies: `data("multi30k")`; the test is skipped where there is none."""

    def find(folder: str) -> Path:
        root = os.environ.get("SEQX_DATA")
        path = Path(root or "", folder)
        if not root or not path.exists():
            pytest.skip("no data")
        return path

    return find


@pytest.fixture(scope="session", autouse=True)
def _remember_sample() -> None:
    """Generate the sentences of small samples once per process, not at each pass over them."""
    remember = cache(lambda *request: [*take(*request)])

    def remembered(seed: int, split: Split, count: int) -> Iterable[Pair]:
        return remember(seed, split, count) if count < 4000 else take(seed, split, count)

    vars(seqx_sample.corpus)["take"] = remembered


@pytest.fixture(scope="session", autouse=True)
def _do_not_wait_for_disks() -> None:
    """Let fsync only check the file: a run flushes 60 files, and no test cuts the power.

    Tests that start Python anew flush.
    """
    vars(os)["fsync"] = os.fstat


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests were skipped for lack of data."""
    skipped = terminalreporter.stats.get("skipped", [])
    count = sum(str(report.longrepr).endswith("no data')") for report in skipped)
    terminalreporter.write_line(f"{count} tests skipped for lack of data (SEQX_DATA names its folder)")
