import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from seqx.data.cache import address, default_cache, made
from seqx.data.prepare import quiet
from seqx.errors import UserError


def test_equal_parts_have_equal_addresses() -> None:
    assert address({"a": 1, "b": [1, {"c": "ü"}]}) == address({"b": [1, {"c": "ü"}], "a": 1})
    assert address({"a": 1}) != address({"a": 2})
    assert address({"a": 1}) == "015abd7f5cc57a2dd94b7590f04ad808"


def test_the_default_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SEQX_CACHE", str(tmp_path / "c"))
    assert default_cache() == tmp_path / "c"
    monkeypatch.delenv("SEQX_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache() == tmp_path / ".cache" / "seqx"
    monkeypatch.setenv("SEQX_CACHE", "~nobody-of-this-name/c")
    with pytest.raises(
        UserError, match=r"^~nobody-of-this-name/c: it is not known where this is; set the variable"
    ):
        default_cache()


def test_made_once_and_says_from_what(tmp_path: Path) -> None:
    calls = []

    def make(folder: Path) -> None:
        calls.append(folder)
        (folder / "x").write_text("1")

    first = made({"from": "ü"}, tmp_path / "cache", make, quiet)
    assert made({"from": "ü"}, tmp_path / "cache", make, quiet) == first
    assert len(calls) == 1
    assert "ü" in (first / "made_from.json").read_text(encoding="utf-8")
    assert sorted(path.name for path in first.iterdir()) == ["made_from.json", "x"]


@pytest.mark.parametrize("error", [UserError("no"), KeyboardInterrupt()])
def test_nothing_half_made_is_left(error: BaseException, tmp_path: Path) -> None:
    def make(folder: Path) -> None:
        (folder / "x").write_text("half")
        raise error

    with pytest.raises(type(error)):
        made({}, tmp_path, make, quiet)
    assert [path.name for path in tmp_path.iterdir()] == [f".{address({})}.lock"]


def test_what_a_killed_process_left_is_cleared_away(tmp_path: Path) -> None:
    code = (
        "import os, pathlib\n"
        "from seqx.data.cache import made\n"
        "made({}, pathlib.Path('.'), lambda folder: os._exit(9), print)\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        check=False,
        env={"PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1"},
    )
    assert process.returncode == 9
    assert any(".tmp-" in path.name for path in tmp_path.iterdir())
    folder = made({}, tmp_path, lambda folder: (folder / "x").touch(), quiet)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f".{folder.name}.lock", folder.name]


def test_two_that_want_the_same_make_it_once(tmp_path: Path) -> None:
    calls, told, folders = [], [], []

    def make(folder: Path) -> None:
        calls.append(folder)
        time.sleep(0.2)

    def ask() -> None:
        folders.append(made({}, tmp_path, make, lambda text, _: told.append(text)))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert folders[0] == folders[1]
    assert told == ["waiting for another process that makes the same"]


def test_without_locks_the_first_to_finish_wins(tmp_path: Path) -> None:
    def make(folder: Path) -> None:
        (folder / "x").write_text("second")
        other = tmp_path / address({})
        other.mkdir()
        (other / "x").write_text("first")

    folder = made({}, tmp_path, make, quiet)
    assert (folder / "x").read_text() == "first"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="SEQX_CACHE"):
        made({}, tmp_path / "file" / "cache", lambda _: None, quiet)
