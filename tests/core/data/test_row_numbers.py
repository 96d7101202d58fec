"""The rows of examples are found, also if rows before them were dropped."""

from pathlib import Path

import pytest

from seqx.data import row_numbers as module
from seqx.data.prepare import prepare
from seqx.data.row_numbers import row_numbers
from tests.core.data.pairs import Pairs

ROWS = [("3 4", "5"), ("6", "7"), (" ".join(["8"] * 60), "9"), ("6", "7"), ("10", "11"), ("12", "13")]


@pytest.mark.parametrize("max_encoded", [0, 100])
def test_rows_of_examples_after_dropped_rows(
    max_encoded: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_ENCODED", max_encoded)
    task = Pairs({"train": ROWS})
    store = prepare(task, "train", {}, tmp_path)
    assert (store.rows, len(store)) == (6, 4)  # row 2 is too long, and row 3 repeats row 1
    assert row_numbers(task, store, [3, 1, 2]) == {1: 1, 2: 4, 3: 5}


def test_rows_of_examples_without_dropped_rows_need_no_text(tmp_path: Path) -> None:
    task = Pairs({"train": ROWS[:2]})
    store = prepare(task, "train", {}, tmp_path, text=False)
    assert row_numbers(task, store, [1]) == {1: 1}


def test_rows_of_examples_without_text_are_unknown(tmp_path: Path) -> None:
    task = Pairs({"train": ROWS})
    store = prepare(task, "train", {}, tmp_path, text=False)
    assert row_numbers(task, store, [1]) == {}
