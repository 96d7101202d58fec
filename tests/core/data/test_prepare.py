"""Corpora are prepared: rows are dropped and counted, and the result is cached."""

import gzip
import hashlib
import itertools
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqx.data.encode import first_occurrence_mask
from seqx.data.held_out import held_out_warnings
from seqx.data.prepare import cached_training_warnings, cached_vocabulary, prepare
from seqx.data.store import Store
from seqx.errors import UserError
from seqx.interfaces.rows import value_text
from seqx.training.recovery.data_fingerprint import digest as digest_of_rows
from tests.core.data.pairs import Pairs, Signals, rows


def digest(store: Store) -> dict[str, str]:
    """Return the SHA-256 of each file of a store."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in store.folder.iterdir()}


def examples(store: Store) -> list[dict[str, str]]:
    return [store.text(i) for i in range(len(store))]


def test_prepared_examples_are_in_the_order_of_the_rows(tmp_path: Path) -> None:
    task = Pairs({"train": rows(50)})
    store = prepare(task, "train", {}, tmp_path)
    assert len(store) == store.rows == 50
    for i, row in enumerate(task.rows("train")):
        example = task.example(row, training=True)
        assert {name: ids.tolist() for name, ids in store[i].items()} == example.columns  # type: ignore[union-attr]
        assert tuple(store.text(i).values()) == row


def test_dropped_rows_are_counted_by_reason(tmp_path: Path) -> None:
    long = "w " * 60
    train = [("a b", "x"), ("", "x"), ("a", long), (" a b", "x "), ("a  b", "x"), (long, long), ("a b", "x")]
    task = Pairs({"train": train, "dev": train})
    store = prepare(task, "train", {}, tmp_path)
    assert store.dropped == {"duplicate": 2, "empty": 1, "too long": 2}
    assert [text["source"] for text in examples(store)] == ["a b", "a  b"]
    assert (store.rows, len(store)) == (7, 2)
    assert Store.open(store.folder).dropped == store.dropped
    dev = prepare(task, "dev", {}, tmp_path)
    assert (len(dev), dev.dropped, dev.leaks) == (7, {}, {})


def test_overlap_of_training_rows_with_other_splits_is_counted_or_dropped(tmp_path: Path) -> None:
    train = [
        ("A  man.", "Ein Mann."),
        ("a man.", "Mann"),
        ("frau", "EIN mann. "),
        ("a cat", "Eine Katze"),
        ("a", "man."),
    ]
    task = Pairs({"train": train, "dev": [("a man.", "ein Mann."), ("", "")], "test": [("Dog", "Mann")]})
    store = prepare(task, "train", {}, tmp_path)
    leaks = {"dev": {"rows": 1, "sides": [2, 2]}, "test": {"rows": 0, "sides": [0, 1]}}
    assert store.leaks == leaks
    assert len(store) == 5
    clean = prepare(task, "train", {}, tmp_path, leaks="drop")
    assert clean.leaks == leaks
    assert clean.dropped == {"leak": 3}
    assert [text["source"] for text in examples(clean)] == ["a cat", "a"]


def test_prepared_text_keeps_unicode_line_separators(tmp_path: Path) -> None:
    row = ("a\u0085b\u2028c\u000bd", "x\u001cy\u00a0z")
    store = prepare(Pairs({"train": [row]}), "train", {}, tmp_path)
    assert tuple(store.text(0).values()) == row


def test_prepare_can_leave_out_the_text(tmp_path: Path) -> None:
    store = prepare(Pairs({"train": rows(5)}), "train", {}, tmp_path, text=False)
    assert store.texts == {}
    assert len(store) == 5


def test_preparation_reports_the_finished_fraction_of_a_known_number_of_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seqx.data.prepare._ROWS_PER_BLOCK", 20)
    reports: list[tuple[str, float | None]] = []
    task = Pairs({"train": rows(50)})
    monkeypatch.setattr(task, "num_rows", lambda split: {"train": 50}[split])
    prepare(task, "train", {}, tmp_path, processes=1, progress=lambda *report: reports.append(report))
    assert reports == [
        ("preparing train: 20 rows", 0.4),
        ("preparing train: 40 rows", 0.8),
        ("preparing train: 50 rows", None),
        ("prepared train: 50 rows", None),
    ]


def test_prepared_store_is_cached(tmp_path: Path) -> None:
    messages: list[str] = []
    task = Pairs({"train": rows(5)})
    first = prepare(task, "train", {"a": 1}, tmp_path, progress=lambda text, _: messages.append(text))
    assert messages == ["preparing train: 5 rows", "prepared train: 5 rows"]
    again = prepare(task, "train", {"a": 1}, tmp_path, progress=lambda text, _: messages.append(text))
    assert first.folder == again.folder
    assert len(messages) == 2
    others = {
        prepare(task, "train", {"a": 2}, tmp_path).folder,
        prepare(Pairs({"train": rows(6)}), "train", {"a": 1}, tmp_path).folder,
        prepare(task, "train", {"a": 1}, tmp_path, leaks="drop").folder,
    }
    assert len(others | {first.folder}) == 4
    assert first.identity == first.folder.name


def test_training_warnings_are_computed_once_for_each_task_and_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may need a pass over the whole training text."""
    calls = itertools.count(1)
    monkeypatch.setattr(Pairs, "training_warnings", lambda _: [f"warning {next(calls)}"])
    task = Pairs(vocabulary=77)
    assert cached_training_warnings(task, {"size": 77}, tmp_path) == ["warning 1"]
    assert cached_training_warnings(task, {"size": 77}, tmp_path) == ["warning 1"]
    assert cached_training_warnings(task, {"size": 88}, tmp_path) == ["warning 2"]


def test_training_warnings_that_were_removed_from_the_cache_are_reported(tmp_path: Path) -> None:
    """Some computers remove old files, but not their folders, from such places."""
    cached_training_warnings(Pairs(), {}, tmp_path)
    (file,) = tmp_path.glob("*/warnings.json")
    for text in (None, "[1"):
        file.unlink() if text is None else file.write_text(text)
        with pytest.raises(UserError, match=r"warnings\.json: cannot be read \(.*\); delete this folder;"):
            cached_training_warnings(Pairs(), {}, tmp_path)


def test_vocabulary_is_cached(tmp_path: Path) -> None:
    folder = cached_vocabulary(Pairs(vocabulary=77), {"size": 77}, tmp_path)
    assert cached_vocabulary(Pairs(vocabulary=88), {"size": 77}, tmp_path) == folder
    task = Pairs()
    task.load(folder)
    assert task.vocab_sizes["source"] == 77
    assert cached_vocabulary(Pairs(vocabulary=88), {"size": 88}, tmp_path) != folder


@pytest.mark.parametrize(("train", "message"), [([], "it is empty"), ([("", ""), ("", "a")], "2 empty")])
def test_prepare_without_remaining_rows_is_an_error(
    train: list[tuple[str, str]], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=f"train: none of .* rows is left .*{message}"):
        prepare(Pairs({"train": train}), "train", {}, tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_prepared_bytes_do_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    train = [*rows(5000), *rows(700), ("", "x"), *rows(3000, seed=1, max_words=60)]
    task = Pairs({"train": train, "dev": rows(30), "test": rows(3, seed=1)}, vocabulary=70_000)
    one, three = (
        prepare(task, "train", {}, tmp_path / str(processes), processes=processes, min_rows=100)
        for processes in (1, 3)
    )
    assert digest(one) == digest(three)
    assert {"index.json", "made_from.json", "source", "source.at", "target.text"} < digest(one).keys()
    assert one.dropped["duplicate"] >= 700
    assert one.leaks == three.leaks
    assert one.columns["source"].values.dtype == np.uint32


@pytest.mark.promise("preparation-worker-dies")
def test_error_in_a_preparation_process_is_raised(tmp_path: Path) -> None:
    train = rows(5000)
    task = Pairs({"train": train}, fail_at=train[4500][0])
    with pytest.raises(UserError, match=r"^corpus.en:7: no good$"):
        prepare(task, "train", {}, tmp_path, processes=2, min_rows=100)
    killed = replace(task, fail_at="", die_at=train[4500][0])
    with pytest.raises(UserError, match="was killed"):
        prepare(killed, "train", {}, tmp_path, processes=2, min_rows=100)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]
    assert not multiprocessing.active_children()


def run_python(
    script: str | Path, folder: Path, text: str | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run a script with a new Python: in a fork of the tests, processes for preparation sometimes hang."""
    path = ":".join([str(Path(__file__).parents[3]), *sys.path])
    return subprocess.run(
        [sys.executable, str(script)], input=text, cwd=folder, check=False, text=True, timeout=60,
        capture_output=True, env={"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.mark.slow
def test_interrupted_preparation_leaves_no_folder(tmp_path: Path) -> None:
    code = (
        "import sys, itertools, os, signal, pathlib\n"
        "from seqx.data.prepare import prepare\n"
        "from tests.core.data.pairs import Pairs, Signals, rows\n"
        "class Endless(Pairs):\n"
        "    def rows(self, split):\n"
        "        return itertools.cycle(rows(2000)) if split == 'train' else iter(())\n"
        "def interrupt(text, _):\n"
        "    if '3,000' in text: os.killpg(0, signal.SIGINT)\n"
        "if __name__ == '__main__':\n"
        "    os.setpgid(0, 0)\n"
        "    try:\n"
        "        prepare(Endless(), 'train', {}, pathlib.Path('c'),"
        " processes=2, min_rows=9, progress=interrupt)\n"
        "    except KeyboardInterrupt:\n"
        "        print('interrupted')\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    done = run_python(script, tmp_path)
    assert (done.stdout, done.stderr) == ("interrupted\n", "")
    assert [path.suffix for path in (tmp_path / "c").iterdir()] == [".lock"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 12), max_size=50))
def test_first_occurrence_mask_keeps_the_first_occurrence(hashes: list[int]) -> None:
    keep = first_occurrence_mask(np.array(hashes, np.uint64))
    assert [h for h, kept in zip(hashes, keep, strict=True) if kept] == list(dict.fromkeys(hashes))


def test_first_occurrence_mask_is_fast_for_millions_of_hashes() -> None:
    hashes = np.random.default_rng(0).integers(0, 2**63, 2_000_000).astype(np.uint64)
    hashes[-1000:] = hashes[:1000]
    start = time.process_time()
    keep = first_occurrence_mask(hashes)
    assert time.process_time() - start < 3
    assert not keep[-1000:].any()
    assert keep[:-1000].all()


def signals(count: int, seed: int = 0) -> list[tuple[Any, ...]]:
    """Return rows of a signal of three features, and a text."""
    rng = np.random.default_rng(seed)
    shapes = [(int(length), 3) for length in rng.integers(1, 9, count)]
    return [(rng.normal(size=shape).astype(np.float32), f"text {seed} {i}") for i, shape in enumerate(shapes)]


def test_rows_of_arrays_are_compared_by_their_values(tmp_path: Path) -> None:
    train = signals(20)
    repeated, other_text = (train[3][0].copy(), "text 0 3"), (train[4][0], "other")
    task = Signals(
        {"train": [*train, repeated, other_text], "dev": [(train[5][0].copy(), "x"), *signals(2, 1)]}
    )
    store = prepare(task, "train", {}, tmp_path, text=False)
    assert store.dropped == {"duplicate": 1}
    assert store.leaks["dev"] == {"rows": 0, "sides": [1, 0]}
    assert [store[i]["source"].tolist() for i in range(20)] == [signal.tolist() for signal, _ in train]
    clean = prepare(task, "train", {}, tmp_path, text=False, leaks="drop")
    assert clean.dropped == {"duplicate": 1, "leak": 1}


def test_rows_of_arrays_are_prepared_by_several_processes(tmp_path: Path) -> None:
    task = Signals({"train": signals(40)})
    one = prepare(task, "train", {"n": 1}, tmp_path, text=False)
    two = prepare(task, "train", {"n": 2}, tmp_path, text=False, processes=2, min_rows=1)
    assert [one[i]["source"].tolist() for i in range(40)] == [two[i]["source"].tolist() for i in range(40)]


def test_suspicious_rows_of_arrays_are_reported() -> None:
    empty = np.zeros((0, 3), np.float32)
    task = Signals({"dev": [*signals(20), (empty, "x"), *[(np.ones((2, 3)), "same")] * 3]})
    assert held_out_warnings(task, task.read_split("dev")) == [
        "dev: 1 of 24 sources are empty",
        f"dev: 3 of 24 rows are identical: '{value_text(np.ones((2, 3)))} / same'",
    ]


def test_digest_of_rows_of_arrays_depends_on_their_values() -> None:
    rows = signals(3)
    assert digest_of_rows(rows) == digest_of_rows(signals(3)) != digest_of_rows(signals(3, seed=1))
    assert digest_of_rows([("a", "b")]) == hashlib.sha256(b'["a", "b"]\n').hexdigest()  # as in earlier runs


def lines(path: Path) -> list[str]:
    return gzip.open(path, "rt", encoding="utf-8", newline="\n").read().removesuffix("\n").split("\n")


def test_prepared_multi30k_has_the_published_counts(data: Callable[[str], Path], tmp_path: Path) -> None:
    """The expected counts are published with the data."""
    folder = data("multi30k")

    def split(name: str) -> list[tuple[str, ...]]:
        return [*zip(*(lines(folder / f"{name}.{side}.gz") for side in ("en", "de")), strict=True)]

    task = Pairs({"train": split("train"), "dev": split("val"), "test": split("test_2016_flickr")})
    store = prepare(task, "train", {}, tmp_path)
    assert store.rows == 29_000
    assert store.dropped == {"duplicate": 3}
    assert len(store) == 28_997
    assert store.leaks == {"dev": {"rows": 0, "sides": [1, 1]}, "test": {"rows": 0, "sides": [0, 0]}}


SCRIPT_START = """
import pathlib, sys
from seqx.data.prepare import prepare
from tests.core.data.pairs import Pairs, Signals, rows
class TaskOfScript(Pairs): pass
def work(task_type):
    task = task_type({"train": rows(300)})
    print(len(prepare(task, "train", {}, pathlib.Path("c"), processes=2, min_rows=100)))
"""
"""A script that prepares a corpus; each test appends the last line."""

_PREFIX = ": several processes prepare examples, and each imports the main script, which"
NO_FILE_MESSAGE = f"{_PREFIX} is not in a file; save it in a file, and run that file"
REPEATED_MESSAGE = (
    f"{_PREFIX} would prepare them again; put everything except imports and definitions under "
    '`if __name__ == "__main__":`, and run the same command again'
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "last_line", "message"),
    [
        ("file", "work(Pairs)", f"script.py{REPEATED_MESSAGE}"),
        ("file", "if __name__ == '__main__': work(TaskOfScript)", "300"),
        ("file", "assert __name__ == '__main__'; work(Pairs)", "which failed there (exit code 1, its"),
        # python -c sets no __file__
        ("file", "del __file__; work(TaskOfScript)", "the task (Can't get attribute 'TaskOfScript' on"),
        ("stdin", "work(Pairs)", f"<stdin>{NO_FILE_MESSAGE}"),
    ],
)  # fmt: skip
def test_scripts_that_workers_cannot_import_get_advice(
    mode: str, last_line: str, message: str, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT_START + last_line + "\n", encoding="utf-8")
    text = script.read_text(encoding="utf-8")
    done = run_python(script, tmp_path) if mode == "file" else run_python("-", tmp_path, text)
    assert message in (done.stdout + done.stderr).splitlines()[-1]
    assert (tmp_path / "c").is_dir()
    assert len([path for path in (tmp_path / "c").iterdir() if path.is_dir()]) == (message == "300")
