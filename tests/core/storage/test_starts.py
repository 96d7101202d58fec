"""The starts of a run: the processes and threads that made each update."""

import json
from pathlib import Path

import pytest

from seqx.errors import UserError
from seqx.storage.starts import Start, recorded_starts, start_of_update, with_start


def start(step: int, processes: int, rollbacks: int = 0, threads: int | None = 1) -> Start:
    return Start(step=step, rollbacks=rollbacks, processes=processes, threads=threads)


def processes(starts: list[Start], steps: range, *back_to: int) -> list[int]:
    return [start_of_update(step, starts, back_to)["processes"] for step in steps]


def added(*starts: Start) -> list[Start]:
    result: list[Start] = []
    for each in starts:
        result = with_start(result, each)
    return result


def test_each_update_belongs_to_the_last_start_before_it() -> None:
    starts = added(start(0, 1), start(3, 2), start(5, 1))
    assert processes(starts, range(1, 8)) == [1, 1, 1, 2, 2, 1, 1]


def test_start_from_an_earlier_checkpoint_replaces_later_starts() -> None:
    """A checkpoint may be damaged, and a start may end before its first checkpoint."""
    starts = added(start(0, 1), start(4, 2), start(4, 3), start(6, 4), start(2, 5))
    assert starts == [start(0, 1), start(2, 5)]
    assert processes(starts, range(1, 5)) == [1, 1, 5, 5]


def test_start_with_the_settings_of_the_one_before_is_not_added() -> None:
    assert added(*(start(step, 1) for step in range(1000))) == [start(0, 1)]
    starts = added(start(0, 1), start(3, 1, threads=2), start(5, 1, threads=2))
    assert starts == [start(0, 1), start(3, 1, threads=2)]


def test_start_before_a_rollback_made_the_updates_that_it_undid() -> None:
    """The second start rolls back from update 8 to update 2; the third one begins at update 6."""
    starts = added(start(0, 1), start(4, 2), start(6, 3, rollbacks=1))
    assert processes(starts, range(1, 9)) == [1, 1, 1, 1, 2, 2, 2, 2]  # the updates that were undone
    assert processes(starts, range(1, 9), 2) == [1, 1, 2, 2, 2, 2, 3, 3]


def test_start_of_an_earlier_version_stands_for_all_updates(tmp_path: Path) -> None:
    file = tmp_path / "environment.json"
    for recorded, expected in (
        ({"processes": 2, "threads": 4}, start(0, 2, threads=4)),
        ({"processes": "two", "threads": 10**9}, start(0, 1, threads=None)),
        ({}, start(0, 1, threads=None)),
    ):
        file.write_text(json.dumps(recorded), encoding="utf-8")
        assert recorded_starts(file) == [expected]
    file.write_text(json.dumps({"processes": 9, "starts": [start(0, 1), start(4, 2)]}), encoding="utf-8")
    assert recorded_starts(file) == [start(0, 1), start(4, 2)]


@pytest.mark.parametrize(
    "starts", [[], 3, [{"step": 0}], [start(0, 0)], [start(-1, 1)], [start(0, 1, threads=0)]]
)
def test_malformed_starts_are_refused(starts: object, tmp_path: Path) -> None:
    file = tmp_path / "environment.json"
    file.write_text(json.dumps({"starts": starts}), encoding="utf-8")
    with pytest.raises(UserError, match=r"environment.json: cannot be read \(starts.*; restore the file as "):
        recorded_starts(file)
