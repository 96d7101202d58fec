"""The tables of docs/results.md, from the records in benchmarks/results/.

    python -m benchmarks.measured

A table stands between `<!-- table: NAME -->` and `<!-- end -->`; the command writes it anew, and a test says
whether it is what the record says.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks import complexity
from benchmarks.provenance import ROOT
from benchmarks.table3 import against_base
from seqx_watch.comparison import shown

DOCUMENT = ROOT / "docs" / "results.md"
RECORDS = ROOT / "benchmarks" / "results"

_TABLE = re.compile(r"(?<=<!-- table: )(\S+)( -->\n).*?(?=<!-- end -->)", re.DOTALL)


def renewed(text: str, records: Path = RECORDS) -> str:
    """The document with each table as its record has it."""
    return _TABLE.sub(lambda match: f"{match[1]}{match[2]}{_table(match[1], records)}", text)


def _table(name: str, records: Path) -> str:
    """`RECORD` for its runs side by side, `RECORD-order` for how they stand to the first."""
    file, _, part = name.partition("-")
    record = json.loads((records / f"{file}.json").read_text(encoding="utf-8"))
    return "".join(f"{line}\n" for line in (*_lines(record, part), "", *_source(record)))


def _lines(record: Mapping[str, Any], part: str) -> Iterator[str]:
    if "layers" in record:
        yield from complexity.table(record)
    elif part == "order":
        yield from against_base(record["runs"])
    else:
        for line in shown(record["runs"]):
            if not line:
                return
            yield line


def _source(record: Mapping[str, Any]) -> Iterator[str]:
    machine, versions = record["machine"], record["versions"]
    yield (
        f"Commit {record['commit'][:10]}, {machine['processor']}, {machine['cores']} cores, one thread each; "
        f"torch {versions['torch']}."
    )


def main() -> None:
    """Write the tables anew."""
    DOCUMENT.write_text(renewed(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
