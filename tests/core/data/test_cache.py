"""Folders of the cache are created once, by one process, completely or not at all."""

import multiprocessing
import os
import threading
import time
import tracemalloc
from pathlib import Path

import pytest

from seqx.data.cache import cache_key, fingerprint, get_or_create
from seqx.data.prepare import no_progress
from seqx.errors import UserError
from seqx.storage.cache_folder import default_cache


def test_cache_key_does_not_depend_on_the_order_of_keys() -> None:
    assert cache_key({"a": 1, "b": [1, {"c": "ü"}]}) == cache_key({"b": [1, {"c": "ü"}], "a": 1})
    assert cache_key({"a": 1}) != cache_key({"a": 2})
    assert cache_key({"a": 1}) == "015abd7f5cc57a2dd94b7590f04ad808"


def test_fingerprint_reads_large_files_in_parts(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "weights").write_bytes(bytes(1 << 25))
    (tmp_path / "a").write_text("ü")
    (tmp_path / "made_from.json").write_text("{}")
    tracemalloc.start()
    try:
        digest = fingerprint(tmp_path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert digest == "055c62ec149875686abb2e3f6634ddd1fafec39727159f47f747523d5cb59e22"
    assert peak < 1 << 22


def test_default_cache_is_seqx_cache_or_below_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SEQX_CACHE", str(tmp_path / "c"))
    assert default_cache() == tmp_path / "c"
    monkeypatch.delenv("SEQX_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache() == tmp_path / ".cache" / "seqx"
    monkeypatch.setenv("SEQX_CACHE", "~nobody-of-this-name/c")
    with pytest.raises(
        UserError, match=r"^~nobody-of-this-name/c: the home folder is unknown; set the environment variable"
    ):
        default_cache()


def test_get_or_create_creates_once_and_records_the_parts(tmp_path: Path) -> None:
    calls = []

    def create(folder: Path) -> None:
        calls.append(folder)
        (folder / "x").write_text("1")

    first = get_or_create({"from": "ü"}, tmp_path / "cache", create, no_progress)
    assert get_or_create({"from": "ü"}, tmp_path / "cache", create, no_progress) == first
    assert len(calls) == 1
    assert "ü" in (first / "made_from.json").read_text(encoding="utf-8")
    assert sorted(path.name for path in first.iterdir()) == ["made_from.json", "x"]


@pytest.mark.parametrize("error", [UserError("no"), KeyboardInterrupt()])
def test_failed_creation_leaves_no_folder(error: BaseException, tmp_path: Path) -> None:
    def create(folder: Path) -> None:
        (folder / "x").write_text("half")
        raise error

    with pytest.raises(type(error)):
        get_or_create({}, tmp_path, create, no_progress)
    assert [path.name for path in tmp_path.iterdir()] == [f".{cache_key({})}.lock"]


def test_leftovers_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    def end(_: Path) -> None:
        os._exit(9)

    process = multiprocessing.get_context("fork").Process(
        target=get_or_create, args=({}, tmp_path, end, no_progress)
    )
    process.start()
    process.join()
    assert process.exitcode == 9
    assert any(path.name.endswith(".part") for path in tmp_path.iterdir())
    folder = get_or_create({}, tmp_path, lambda folder: (folder / "x").touch(), no_progress)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f".{folder.name}.lock", folder.name]


def test_concurrent_callers_create_a_folder_once(tmp_path: Path) -> None:
    calls, messages, folders = [], [], []

    def create(folder: Path) -> None:
        calls.append(folder)
        time.sleep(0.2)

    def ask() -> None:
        folders.append(get_or_create({}, tmp_path, create, lambda text, _: messages.append(text)))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert folders[0] == folders[1]
    assert messages == ["waiting for another process that prepares the same data"]


def test_equal_folder_of_another_process_is_used(tmp_path: Path) -> None:
    def create(folder: Path) -> None:
        (folder / "x").write_text("second")
        other = tmp_path / cache_key({})
        other.mkdir()
        (other / "x").write_text("first")

    folder = get_or_create({}, tmp_path, create, no_progress)
    assert (folder / "x").read_text() == "first"
    assert len(list(tmp_path.iterdir())) == 2


def test_message_about_an_unwritable_cache_names_seqx_cache(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="SEQX_CACHE"):
        get_or_create({}, tmp_path / "file" / "cache", lambda _: None, no_progress)
