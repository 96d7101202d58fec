"""Settings and fixtures of all tests: one thread, a fixed seed, a separate cache, and access to real data."""

import gc
import gzip
import os
import signal
import sys
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")
# torch asks a DNS server for the name of 127.0.0.1 whenever it connects. Wait one second, not five.
os.environ.setdefault("RES_OPTIONS", "timeout:1 attempts:5")
os.environ.setdefault("TORCH_DYNAMO_RUN_GC_AFTER_COMPILE", "0")  # it visits all objects of the tests
# Use huge pages in new processes, such as those of pytest-xdist: a fork with 1.2 GB takes 16 ms, not 84 ms.
os.environ.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
os.environ.setdefault("PYTHONFAULTHANDLER", "1")  # a process that crashes prints its Python stacks

from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice
from pathlib import Path

import pytest
import torch

import seqx
from seqx.plugin.local import LOCAL_MODULE
from tests.docs.command_server import cache_sample, use_huge_pages
from tests.forked import import_modules

TESTS = Path(__file__).parent

# Files with slow tests. `make test-quick` omits them. pytest-xdist starts with them, so that no single worker
# has to run one at the end. Files that often wait are not next to each other: they would wait together.
SLOW = (
    "docs/test_listings.py",
    "test_outside.py",
    "laws/test_first_party.py",
    "stories/test_devices.py",
    "core/parallel/test_training.py",
    "test_gpu_benchmark.py",
    "docs/test_generated.py",
    "stories/test_stopping.py",
    "test_comparing_benchmarks.py",
    "test_table3.py",
    "core/parallel",
    "laws",
    "test_benchmarks.py",
    "test_killing.py",
    "plugins/test_mixtures.py",
    "core/storage/test_identity.py",
    "core/training/test_compile.py",
    "core/training/test_initial_model.py",
    "plugins/parsing/test_parse_command.py",
    "plugins/plan/test_plan.py",
    "plugins/runs/test_replay.py",
    "plugins/transformer/test_ctranslate2.py",
    "plugins/transformer/test_huggingface.py",
    "plugins/transformer/test_marian.py",
    "plugins/transformer/test_onnx.py",
    "core/commands/test_new.py",
    "test_serving_benchmarks.py",
    "plugins/test_bf16.py",
    "test_packaging.py",
    "fuzz",
    "stories",
    "simulated_gpu",
)


# Other files that take more than ten seconds. They start next, so that none of them is the last one.
LONG = (
    "plugins/translation/test_command.py",
    "plugins/parsing/test_grammar.py",
)


def pytest_configure(config: pytest.Config) -> None:
    # The workers share one cache, which is not that of the user.
    if not os.environ.get("SEQX_CACHE"):
        cache = tempfile.TemporaryDirectory(prefix="seqx-cache-")
        os.environ["SEQX_CACHE"] = cache.name
        config.add_cleanup(cache.cleanup)
    # Tests interrupt their children. In a background job the children would inherit that SIGINT is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.disable()  # until all tests are collected


def pytest_collection_finish() -> None:
    """Exclude modules and tests from garbage collections, and collect less often, because it takes long."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    rank = {item: slowness(item.path) for item in items}
    for item, index in rank.items():
        if index < len(SLOW):
            item.add_marker(pytest.mark.slow)
    missing = [slow for slow in (*SLOW, *LONG) if not TESTS.joinpath(slow).exists()]
    assert not missing, f"tests/conftest.py lists slow tests that do not exist: {missing}"
    if hasattr(config, "workerinput"):  # pytest-xdist is used
        items.sort(key=lambda item: rank[item])


@cache
def slowness(file: Path) -> int:
    """Return the index of a file in SLOW and LONG; the sum of their lengths if it is in none."""
    name, files = str(file.relative_to(TESTS)), (*SLOW, *LONG)
    return next((index for index, slow in enumerate(files) if name.startswith(slow)), len(files))


@pytest.fixture
def data() -> Callable[[str], Path]:
    """Return a function from a name ("multi30k") to its data folder; without data it skips the test."""

    def find(folder: str) -> Path:
        root = os.environ.get("SEQX_DATA")
        path = Path(root or "", folder)
        if not root or not path.exists():
            pytest.skip("no data")
        return path

    return find


@pytest.fixture
def small_multi30k(data: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set SEQX_DATA to a folder with the first lines of Multi30k, of which few are scored."""
    folder = tmp_path / "data" / "multi30k"
    folder.mkdir(parents=True)
    for split, count in (("train", 300), ("val", 20), ("test_2016_flickr", 20)):
        for side in ("en", "de"):
            file = data("multi30k") / f"{split}.{side}.gz"
            lines = islice(seqx.read_lines(file), count)
            (folder / file.name).write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))
    monkeypatch.setenv("SEQX_DATA", str(tmp_path / "data"))


@pytest.fixture(scope="session", autouse=True)
def _prepare_forks() -> None:
    """Import and generate what most commands need, so that no fork of this process has to do it again."""
    cache_sample()
    import_modules()
    use_huge_pages()


@pytest.fixture(scope="module", autouse=True)
def _forget_local_plugins() -> Iterator[None]:
    """Remove the local plugins that the tests of a file import: new processes would import them again."""
    yield
    for name in [name for name in sys.modules if name.startswith(LOCAL_MODULE)]:
        del sys.modules[name]


@pytest.fixture(scope="session", autouse=True)
def _write_no_reports() -> Iterator[None]:
    """Leave out `report.html` at the end of each run, which takes half a second; its tests write it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQX_REPORT", "0")
        yield


@pytest.fixture(scope="session", autouse=True)
def _skip_fsync() -> None:
    """Replace fsync, which is slow and which a run calls for 60 files, by a check of the file descriptor.

    New Python processes still call fsync.
    """
    vars(os)["fsync"] = os.fstat


@pytest.fixture(scope="session", autouse=True)
def _skip_measurement_of_guards() -> None:
    """Omit a measurement of torch's compiler, which flushes the caches of the CPU for 20 ms per graph."""
    vars(torch._dynamo.guards)["profile_guard_manager"] = lambda *_: 0.0


@pytest.fixture(scope="session", autouse=True)
def _same_output_everywhere() -> Iterator[None]:
    """Remove the variables that change what programs print. CI services set some of them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("CI", "BUILD_NUMBER", "PYTEST_ADDOPTS", "FORCE_COLOR", "NO_COLOR", "PY_COLORS"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(autouse=True)
def _seed() -> None:
    # Without an accelerator, torch.manual_seed formats several stack traces in case that one appears.
    generators = torch if torch.accelerator.is_available() else torch.default_generator
    generators.manual_seed(0)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the number of tests that were skipped for lack of data."""
    skipped = terminalreporter.stats.get("skipped", [])
    count = sum(str(report.longrepr).endswith("no data')") for report in skipped)
    terminalreporter.write_line(f"{count} tests skipped for lack of data (set SEQX_DATA to its folder)")
