"""Update of the tables in docs/ from the records in benchmarks/results/.

    python -m benchmarks.update_tables

A table is enclosed by `<!-- table: NAME -->` and `<!-- end -->`. A test compares it with its record.
"""

import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import (
    batch_shapes,
    compiling,
    complexity,
    corpus_sizes,
    export_parity,
    fuzz,
    grammar_share,
    growth,
    kill_test,
    linear_layers,
    loader,
    matrix_products,
    plans,
    preparation,
    scale,
    search_steps,
    server_threads,
    serving,
    soak,
    startup,
)
from benchmarks.peers import report
from benchmarks.provenance import ROOT
from benchmarks.table3 import against_base
from seqx_runs.comparison import format_comparison

DOCUMENTS = [
    ROOT / "docs" / name
    for name in ("reference/results.md", "explanation/reliability.md", "how-to/several_devices.md")
]
RECORDS = ROOT / "benchmarks" / "results"

_TABLE = re.compile(r"(?<=<!-- table: )(\S+)( -->\n).*?(?=<!-- end -->)", re.DOTALL)


def _comparison(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield the comparison of the runs of a record, without the notes below it."""
    return itertools.takewhile(bool, format_comparison(record["runs"]))


def _against_base(record: Mapping[str, Any]) -> Iterator[str]:
    return against_base(record["runs"])


TABLES: Mapping[str, Callable[[Mapping[str, Any]], Iterator[str]]] = {
    "compiling": compiling.table,
    "batch_shapes": batch_shapes.table,
    "complexity": complexity.table,
    "corpus_sizes": corpus_sizes.table,
    "export_parity": export_parity.table,
    "fuzz": fuzz.table,
    "grammar_share": grammar_share.table,
    "growth": growth.table,
    "kill_test": kill_test.table,
    "linear_layers": linear_layers.table,
    "linear_layers_avx2": linear_layers.table,
    "linear_layers_decoding": linear_layers.decoding_table,
    "matrix_products": matrix_products.table,
    "matrix_products_zen4": matrix_products.table,
    "loader": loader.table,
    "peers_commands_base": partial(report.commands_table, "base"),
    "peers_commands_small": partial(report.commands_table, "small"),
    "peers_decoding": report.decoding_table,
    "peers_decoding_zen5": report.decoding_table,
    "peers_preparation": report.preparation_table,
    "peers_training_zen4": report.training_table,
    "peers_training_zen5": report.training_table,
    "plans": plans.table,
    "preparation": preparation.table,
    "scale": scale.table,
    "search_answers": search_steps.answers_table,
    "search_answers_single": search_steps.answers_table,
    "search_steps": search_steps.table,
    "server_threads": server_threads.table,
    "serving": serving.table,
    "soak": soak.table,
    "peers-training": report.training_table,
    "startup": startup.table,
    "table3-order": _against_base,
}
"""Table functions by name; all other tables compare the runs of a record."""


def update_tables(text: str, records: Path = RECORDS) -> str:
    """Return a document with each table replaced by that of its record."""
    return _TABLE.sub(lambda match: f"{match[1]}{match[2]}{_table(match[1], records)}", text)


def _table(name: str, records: Path) -> str:
    """Return the lines of a table and the source of its record."""
    file = name.partition("-")[0]
    record = json.loads((records / f"{file}.json").read_text(encoding="utf-8"))
    lines = TABLES.get(name, _comparison)(record)
    return "".join(f"{line}\n" for line in (*lines, "", *_source(record)))


def _source(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence with the commit, the machine and the version of torch."""
    machine, versions = record["machine"], record["versions"]
    cores = f"{machine['cores']} core{'s' * (machine['cores'] > 1)}"
    threads = {1: ", one thread each", 2: ", two threads each", "varied": ""}[record.get("threads") or 1]
    yield (
        f"Commit {record['commit'][:10]}, {machine['processor']}, {cores}{threads}; "
        f"torch {versions['torch']}."
    )


def main() -> None:
    """Update the tables of all documents."""
    for document in DOCUMENTS:
        document.write_text(update_tables(document.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
