"""Bitwise comparison of two finished runs, except for measured times."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

import seqx

CLOCK = ("memory", "seconds", "tokens_per_second")
"""Keys of measured times and memory, which differ between two runs of one recipe."""

_LINE = TypeAdapter(dict[str, Any])
_LARGEST = 1 << 26  # bytes of a JSON file

STARTS = ("start", "failed")
"""Kinds of lines in the metrics that describe a process and not training."""


def differences(run: Path, other: Path, *, saves: bool = True) -> list[str]:
    """Return the names of the files that differ between the folders of two finished runs.

    This compares the checkpoints (weights, optimizer state, moving average, random states, states of
    callbacks, progress), the metrics line by line, and the model folder with its scores and answers.

    Args:
        run: folder of one run
        other: folder of the other run
        saves: compare also when checkpoints were written; false if a signal caused additional checkpoints
    """
    ours, theirs = (dict(_comparable_files(folder, saves=saves)) for folder in (run, other))
    names = sorted(ours.keys() | theirs.keys())
    return [name for name in names if name not in ours or ours[name] != theirs.get(name)]


def _comparable_files(folder: Path, *, saves: bool) -> Iterator[tuple[str, Any]]:
    """Yield the name and the content of each file, without times."""
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = file.relative_to(folder).as_posix()
        match file.name:
            case ".lock" | "log.txt" | "environment.json" | "recipe.yaml" | "origins.yaml" | "model.json":
                continue  # they contain the name of the run and the time of day
            case "report.html":
                continue  # it contains measured times
            case "manifest.json":
                yield name, sorted(seqx.read_bounded_json(file, _LARGEST)["files"])
            case "metrics.jsonl":
                yield name, list(_metrics(file, saves=saves))
            case "checkpoint.json" | "states.json":
                yield name, _without_times(seqx.read_bounded_json(file, _LARGEST))
            case _:
                yield name, file.read_bytes()


def _metrics(file: Path, *, saves: bool) -> Iterator[Any]:
    """Yield the lines of the metrics that are compared, without times."""
    for _, row in seqx.read_json_lines(_LINE, file, "run it again"):
        if row["kind"] not in STARTS and (saves or row["kind"] != "saved"):
            yield _without_times(row)


def _without_times(value: Any) -> Any:
    """Return a JSON value without measured times."""
    match value:
        case dict():
            return {key: _without_times(item) for key, item in value.items() if key not in CLOCK}
        case list():  # `seqx.storage.state_dict` writes a dict as a list of pairs
            return [
                _without_times(item)
                for item in value
                if not (isinstance(item, list) and item[:1] == ["seconds"])
            ]
        case _:
            return value
