"""The tables in docs/ that come from records in benchmarks/results/.

    python -m benchmarks.measured

A table stands between `<!-- table: NAME -->` and `<!-- end -->`; the command writes it anew, and a test says
whether it is what the record says.
"""

import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks import complexity, fuzz, kill_test, preparation, scale
from benchmarks.provenance import ROOT
from benchmarks.table3 import against_base
from seqx_watch.comparison import format_comparison

DOCUMENTS = [
    ROOT / "docs" / name
    for name in ("reference/results.md", "explanation/reliability.md", "how-to/several_devices.md")
]
RECORDS = ROOT / "benchmarks" / "results"

_TABLE = re.compile(r"(?<=<!-- table: )(\S+)( -->\n).*?(?=<!-- end -->)", re.DOTALL)


def _side_by_side(record: Mapping[str, Any]) -> Iterator[str]:
    return itertools.takewhile(bool, format_comparison(record["runs"]))


def _order(record: Mapping[str, Any]) -> Iterator[str]:
    return against_base(record["runs"])


TABLES: Mapping[str, Callable[[Mapping[str, Any]], Iterator[str]]] = {
    "complexity": complexity.table,
    "fuzz": fuzz.table,
    "kill_test": kill_test.table,
    "preparation": preparation.table,
    "scale": scale.table,
    "table3-order": _order,
}
"""Of records that are not runs side by side."""


def renewed(text: str, records: Path = RECORDS) -> str:
    """The document with each table as its record has it."""
    return _TABLE.sub(lambda match: f"{match[1]}{match[2]}{_table(match[1], records)}", text)


def _table(name: str, records: Path) -> str:
    file = name.partition("-")[0]
    record = json.loads((records / f"{file}.json").read_text(encoding="utf-8"))
    lines = TABLES.get(name, _side_by_side)(record)
    return "".join(f"{line}\n" for line in (*lines, "", *_source(record)))


def _source(record: Mapping[str, Any]) -> Iterator[str]:
    machine, versions = record["machine"], record["versions"]
    cores = f"{machine['cores']} core{'s' * (machine['cores'] > 1)}"
    yield (
        f"Commit {record['commit'][:10]}, {machine['processor']}, {cores}, one thread each; "
        f"torch {versions['torch']}."
    )


def main() -> None:
    """Write the tables anew."""
    for document in DOCUMENTS:
        document.write_text(renewed(document.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
