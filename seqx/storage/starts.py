"""The starts of a run that `environment.json` records: the processes and threads that made each update."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NotRequired

from annotated_types import Ge, Lt, MinLen
from pydantic import TypeAdapter
from typing_extensions import TypedDict

from seqx.runtime.cpu_threads import MAX_THREADS
from seqx.storage.json_format import read_as

_Count = Annotated[int, Ge(0), Lt(1 << 63)]


class Start(TypedDict):
    """The beginning of a run, or a time when it was resumed."""

    step: _Count  # number of updates before it
    rollbacks: _Count  # number of rollbacks before it
    processes: Annotated[int, Ge(1), Lt(1 << 63)]
    threads: Annotated[int, Ge(1), Lt(MAX_THREADS + 1)] | None  # of each process; None: unknown


class _Environment(TypedDict):
    """The fields of `environment.json` that this module reads."""

    starts: NotRequired[Annotated[list[Start], MinLen(1)]]
    processes: NotRequired[Any]
    threads: NotRequired[Any]


_ENVIRONMENT = TypeAdapter(_Environment)


def recorded_starts(file: Path) -> list[Start]:
    """Return the starts of a run in its `environment.json`, the first one first.

    Earlier versions of seqx recorded only the last start; then it stands for all of them.

    Raises:
        UserError: the file cannot be read
    """
    environment = read_as(_ENVIRONMENT, file, "restore the file as the run wrote it")
    if "starts" in environment:
        return environment["starts"]
    processes, threads = environment.get("processes"), environment.get("threads")
    return [
        Start(
            step=0,
            rollbacks=0,
            processes=processes if type(processes) is int and processes > 0 else 1,
            threads=threads if type(threads) is int and 0 < threads <= MAX_THREADS else None,
        )
    ]


def with_start(starts: Sequence[Start], start: Start) -> list[Start]:
    """Add a start to those of a run, and leave out the starts whose updates it makes again.

    A start with the processes and threads of the one before it is not added.
    """
    kept = [each for each in starts if each["step"] < start["step"] or each["rollbacks"] < start["rollbacks"]]
    if kept and kept[-1]["step"] < start["step"] and _settings(kept[-1]) == _settings(start):
        return kept
    return [*kept, start]


def _settings(start: Start) -> tuple[int, int | None]:
    return start["processes"], start["threads"]


def start_of_update(step: int, starts: Sequence[Start], back_to: Sequence[int]) -> Start:
    """Return the start that made an update: the last one that began before it.

    Args:
        step: the number of the update
        starts: the starts of the run, at least one
        back_to: the steps of the checkpoints that the rollbacks before this update restored
    """
    found = current = starts[0]
    for rollbacks in range(len(back_to) + 1):
        if rollbacks and back_to[rollbacks - 1] < step:
            found = current  # it made the updates after the rollback
        for start in starts:
            if start["rollbacks"] == rollbacks:
                current = start
                found = start if start["step"] < step else found
    return found
