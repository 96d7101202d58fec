"""What all tests share: one thread, seeds, and the way to real data."""

import os
import signal
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch

import seqx_sample.corpus
from seqx_sample.generate import take


def pytest_configure(config: pytest.Config) -> None:
    # A separate cache, which the workers share: tests neither need nor use the cache of the home folder.
    if not os.environ.get("SEQX_CACHE"):
        cache = tempfile.TemporaryDirectory(prefix="seqx-cache-")
        os.environ["SEQX_CACHE"] = cache.name
        config.add_cleanup(cache.cleanup)
    # A job in the background starts deaf to interrupts, and so do its children: those that a test interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)


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
    """Generate the sentences of the sample once per process, not at each pass over the same few hundred."""
    vars(seqx_sample.corpus)["take"] = cache(lambda *request: [*take(*request)])


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests were skipped for lack of data."""
    skipped = terminalreporter.stats.get("skipped", [])
    count = sum(str(report.longrepr).endswith("no data')") for report in skipped)
    terminalreporter.write_line(f"{count} tests skipped for lack of data (SEQX_DATA names its folder)")
