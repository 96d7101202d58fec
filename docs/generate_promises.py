"""docs/reference/promises.md: the promises of tests/promises.yaml, each with its tests."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).parents[1]
PROMISES = ROOT / "tests" / "promises.yaml"
CONSTRAINTS = ROOT / "constraints.txt"

INTRODUCTION = """\
# Promises and tests

For each promise there are tests that inject the fault, or compare with another program. "Cases" is the number
of test cases of pytest. [Reliability](../explanation/reliability.md) explains the behaviour behind them.

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
    lines, versions = [INTRODUCTION], _versions()
    for title, section in sections.items():
        is_comparison = any("programs" in entry for entry in section.values())
        column = "compared with" if is_comparison else "injected fault"
        lines += [f"## {title}", "", f"| promise | {column} | tests | cases |", "|---|---|---|---|"]
        lines += [
            f"| {entry['promise']} | {_against(entry, versions)} | {_tests(tests[name].tests)} "
            f"| {tests[name].cases} |"
            for name, entry in section.items()
        ]
        lines.append("")
    return "\n".join(lines)


def _against(entry: Mapping[str, Any], versions: Mapping[str, str]) -> str:
    """Return the injected fault, or the programs with the versions of the tests."""
    programs = [f"{name} {versions[name]}" for name in entry.get("programs", ())]
    return ", ".join(programs) or str(entry.get("fault", ""))


def _versions() -> dict[str, str]:
    """Return the versions of the packages with which the tests run."""
    lines = CONSTRAINTS.read_text(encoding="utf-8").splitlines()
    return dict(line.split("==", 1) for line in lines if "==" in line and not line.startswith("#"))


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
