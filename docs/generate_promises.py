"""docs/reference/promises.md: the promises of tests/promises.yaml, each with its tests."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import yaml

ROOT = Path(__file__).parents[1]
PROMISES = ROOT / "tests" / "promises.yaml"

INTRODUCTION = """\
# Promises and tests

For each promise there are tests that inject the fault. "Cases" is the number of test cases of pytest.
[Reliability](../explanation/reliability.md) explains the behaviour behind them.

The tests of a promise have the marker `@pytest.mark.promise("NAME")`. The names and the texts are in
`tests/promises.yaml`, and `python -m docs.generate` writes this page.
"""


class PromiseTests(NamedTuple):
    """The tests of one promise, and the number of their cases."""

    tests: list[str]
    cases: int


def promises(collected: Iterable[tuple[str, str]] | None = None) -> str:
    """Return the page.

    Args:
        collected: the promise and the test of each case, in the order of collection; `None`: collect them

    Raises:
        ValueError: a promise has no test, or a test names an unknown promise
    """
    sections = yaml.safe_load(PROMISES.read_text(encoding="utf-8"))
    tests = _tests_by_promise(_collected() if collected is None else collected)
    known = {name for section in sections.values() for name in section}
    if known != tests.keys():
        raise ValueError(
            f"promises without a test: {sorted(known - tests.keys())}; "
            f"tests with an unknown promise: {sorted(tests.keys() - known)}"
        )
    lines = [INTRODUCTION]
    for title, section in sections.items():
        lines += [f"## {title}", "", "| promise | injected fault | tests | cases |", "|---|---|---|---|"]
        lines += [
            f"| {entry['promise']} | {entry.get('fault', '')} | {_tests(tests[name].tests)} "
            f"| {tests[name].cases} |"
            for name, entry in section.items()
        ]
        lines.append("")
    return "\n".join(lines)


def _tests(nodes: list[str]) -> str:
    """Return test functions as Markdown, with the file in front of the first one of each file."""
    shown, last = [], ""
    for node in nodes:
        file, _, name = node.partition("::")
        shown.append(f"`::{name}`" if file == last else f"`{node}`")
        last = file
    return ", ".join(shown)


def _tests_by_promise(collected: Iterable[tuple[str, str]]) -> dict[str, PromiseTests]:
    cases: dict[str, Counter[str]] = {}
    for name, test in collected:
        cases.setdefault(name, Counter())[test] += 1
    return {name: PromiseTests(list(counted), counted.total()) for name, counted in cases.items()}


def _collected() -> Iterator[tuple[str, str]]:
    """Yield the promise and the test of each case, in the order of collection."""
    files = sorted(
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").rglob("test_*.py")
        if "pytest.mark.promise(" in path.read_text(encoding="utf-8")
    )
    command = [sys.executable, "-m", "pytest", "--collect-only", "-p", "tests.docs.promises"]
    command += ["-p", "no:cacheprovider", *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"pytest could not collect the tests:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    for line in done.stdout.splitlines():
        match line.split():
            case ["promise", name, test]:
                yield name, test
