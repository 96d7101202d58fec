"""Count the cases of the tests that docs/explanation/reliability.md names, as pytest collects them.

    python -m tests.docs.reliability

writes the last column of its tables anew.
"""

import itertools
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs/explanation/reliability.md"
HEADER = "| promise | fault injected | test | cases |"

_TEST = re.compile(r"`([\w/]*\.py)?(?:::(\w+))?`")


def counted(text: str) -> str:
    """The document with the number of cases in the last column of each table of promises."""
    lines = text.splitlines()
    promises = [
        number
        for start in (number for number, line in enumerate(lines) if line == HEADER)
        for number in itertools.takewhile(lambda n: lines[n].startswith("|"), itertools.count(start + 2))
    ]
    cells = {number: [cell.strip() for cell in lines[number].strip("|").split("|")] for number in promises}
    named = dict(zip(cells, _tests(test for _, _, test, _ in cells.values()), strict=True))
    cases = _collected({file for tests in named.values() for file, _ in tests})
    for number, tests in named.items():
        found = [cases[test] for test in tests]
        assert all(found), f"line {number + 1}: it names what is no test"
        lines[number] = f"| {' | '.join([*cells[number][:3], str(sum(found))])} |"
    return "\n".join(lines) + "\n"


def _tests(cells: Iterable[str]) -> Iterator[list[tuple[str, str]]]:
    """The tests that each cell names, "" for all of a file; folders that were said before may be left out."""
    known: dict[str, str] = {}
    for cell in cells:
        file, tests = "", list[tuple[str, str]]()
        for match in _TEST.finditer(cell):
            file = match[1] or file
            if file.startswith("tests/"):
                known[Path(file).name] = file
            if not file.startswith("benchmarks/"):
                tests.append((known[Path(file).name], match[2] or ""))
        yield tests


def _collected(files: Collection[str]) -> Counter[tuple[str, str]]:
    """The number of cases of each test, and of each file."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-p", "no:cacheprovider", *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    found = Counter[tuple[str, str]]()
    for line in done.stdout.splitlines():
        if match := re.match(r"(tests/\S+\.py)::(\w+)", line):
            found.update([(match[1], match[2]), (match[1], "")])
    return found


def main() -> None:
    """Write the column anew."""
    DOCUMENT.write_text(counted(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
