"""Whether two runs ended the same, bit by bit: all they left but what a clock said."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

import seqx

CLOCK = ("seconds", "tokens_per_second")
"""What differs between two runs of one recipe: how long things took."""

_LINE = TypeAdapter(dict[str, Any])
_LARGEST = 1 << 26  # bytes of a file of JSON

STARTS = ("start", "failed")
"""Lines of metrics about a process, not about learning."""


def differences(run: Path, other: Path, *, saves: bool = True) -> list[str]:
    """What is not the same in the folders of two finished runs: names of files.

    Parameters, optimizer, average of the weights, random states, states of callbacks, progress with the best
    score, which checkpoints there are, metrics line by line, the model, its scores and answers.

    Args:
        run: one run's folder
        other: the other's
        saves: whether they also wrote checkpoints at the same updates: not where a signal made one save more
    """
    ours, theirs = (dict(_contents(folder, saves=saves)) for folder in (run, other))
    names = sorted(ours.keys() | theirs.keys())
    return [name for name in names if name not in ours or ours[name] != theirs.get(name)]


def _contents(folder: Path, *, saves: bool) -> Iterator[tuple[str, Any]]:
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = file.relative_to(folder).as_posix()
        match file.name:
            case ".lock" | "log.txt" | "environment.json" | "recipe.yaml" | "model.json":
                continue  # names of runs, times of day
            case "manifest.json":
                yield name, sorted(seqx.read_bounded_json(file, _LARGEST)["files"])
            case "metrics.jsonl":
                yield name, list(_metrics(file, saves=saves))
            case "checkpoint.json" | "states.json":
                yield name, _timeless(seqx.read_bounded_json(file, _LARGEST))
            case _:
                yield name, file.read_bytes()


def _metrics(file: Path, *, saves: bool) -> Iterator[Any]:
    for _, row in seqx.read_json_lines(_LINE, file, "run it again"):
        if row["kind"] not in STARTS and (saves or row["kind"] != "saved"):
            yield _timeless(row)


def _timeless(value: Any) -> Any:
    match value:
        case dict():
            return {key: _timeless(item) for key, item in value.items() if key not in CLOCK}
        case list():  # a dict of `seqx.storage.state_dict` is a list of pairs
            return [
                _timeless(item) for item in value if not (isinstance(item, list) and item[:1] == ["seconds"])
            ]
        case _:
            return value
