"""Stores are written and read exactly, and damaged stores are refused."""

import json
import os
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from seqx.data.ragged import Ragged
from seqx.data.store import Store, Writer
from seqx.errors import PluginError, UserError

pytestmark = pytest.mark.promise("json-is-checked")

examples = st.lists(
    st.tuples(st.lists(st.integers(0, 2**40), max_size=6), st.text(max_size=8)), min_size=1, max_size=20
)


def ragged(rows: list[list[int]]) -> Ragged:
    values = np.array([i for row in rows for i in row], np.uint64)
    return Ragged.of(values, np.array([len(row) for row in rows], np.int64))


def write(
    folder: Path, rows: list[tuple[list[int], str]], keep: list[bool] | None = None, block: int = 3
) -> Store:
    folder.mkdir(exist_ok=True)
    writer = Writer(folder)
    for start in range(0, len(rows), block):
        part = rows[start : start + block]
        text = ragged([list(text.encode()) for _, text in part])
        writer.add({"target": ragged([ids for ids, _ in part])}, {"target": text})
    writer.finish(
        keep=None if keep is None else np.array(keep), rows=len(rows), dropped={}, leaks={}, identity="i"
    )
    return Store.open(folder)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), rows=examples, block=st.integers(1, 7))
def test_store_reads_what_the_writer_wrote(
    data: st.DataObject,
    rows: list[tuple[list[int], str]],
    block: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    keep = data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    store = write(tmp_path_factory.mktemp("store") / "s", rows, keep, block)
    kept = [row for row, is_kept in zip(rows, keep, strict=True) if is_kept]
    assert len(store) == len(kept)
    assert [(store[i]["target"].tolist(), store.text(i)["target"]) for i in range(len(store))] == kept
    assert store.lengths("target").tolist() == [len(ids) for ids, _ in kept]


Arrays = list[NDArray[np.float32]]


@st.composite
def arrays(draw: st.DrawFn) -> Arrays:
    """Return rows of floats, or of vectors of one length; some are empty."""
    shape = draw(st.sampled_from([(), (1,), (3,)]))
    lengths = draw(st.lists(st.integers(0, 4), min_size=1, max_size=9))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    return [rng.normal(size=(length, *shape)).astype(np.float32) for length in lengths]


def write_column(folder: Path, blocks: list[Ragged], keep: list[bool] | None = None) -> Store:
    folder.mkdir()
    rows = sum(len(block.offsets) - 1 for block in blocks)
    mask = None if keep is None else np.array(keep)
    with closing(Writer(folder)) as writer:
        for block in blocks:
            writer.add({"source": block}, {})
        writer.finish(keep=mask, rows=rows, dropped={}, leaks={}, identity="i")
    return Store.open(folder)


@settings(max_examples=40, deadline=None)
@given(data=st.data(), rows=arrays(), block=st.integers(1, 7))
def test_store_holds_floats_and_vectors(
    data: st.DataObject, rows: Arrays, block: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    keep = data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    blocks = [Ragged.of_rows(rows[start : start + block]) for start in range(0, len(rows), block)]
    store = write_column(tmp_path_factory.mktemp("store") / "s", blocks, keep)
    kept = [row for row, is_kept in zip(rows, keep, strict=True) if is_kept]
    assert store.lengths("source").tolist() == [len(row) for row in kept]
    for i, row in enumerate(kept):
        assert store[i]["source"].tolist() == row.tolist()


@pytest.mark.parametrize(
    ("rows", "dtype", "shape"),
    [
        ([[0.5], [1, 2]], "<f4", (3,)),
        ([np.zeros((2, 3)), np.ones((1, 3))], "<f4", (3, 3)),
        ([np.zeros((2, 3), np.float16), np.ones((1, 3), np.float16)], "<f2", (3, 3)),
        ([[[0.5, -1.0]], []], "<f4", (1, 2)),
        ([[], [[1, 255]]], "|u1", (1, 2)),
        ([[[1, 2]], [[-1, 2]]], "<f4", (2, 2)),
        ([[300], [0.5]], "<f4", (2,)),
        ([np.array([300]), (7,)], "<u2", (2,)),
    ],
)
@pytest.mark.parametrize("in_blocks", [True, False])
def test_store_chooses_the_type_of_a_column(
    rows: list[object], dtype: str, shape: tuple[int, ...], *, in_blocks: bool, tmp_path: Path
) -> None:
    blocks = [Ragged.of_rows([row]) for row in rows] if in_blocks else [Ragged.of_rows(rows)]
    values = write_column(tmp_path / "s", blocks).columns["source"].values
    assert (values.dtype.str, values.shape) == (dtype, shape)
    assert values.tolist() == [value for row in rows for value in np.asarray(row).tolist()]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[-1]], "negative number: -1"),
        ([[0.5, float("nan")]], "not finite"),
        ([[1e39]], "not finite in float32"),
        ([np.zeros((1, 2)), np.zeros((1, 3))], r"the shapes \[2\] and \[3\]"),
        ([[0.5], [[0.5]]], r"the shapes \[1\] and \[\]"),
        ([np.zeros((1, 2, 2))], r"the shapes \[2, 2\]"),
        ([np.array(["a"])], "the type <U1"),
    ],
)
def test_store_refuses_a_column_that_it_cannot_hold(rows: list[object], message: str, tmp_path: Path) -> None:
    with pytest.raises((ValueError, PluginError), match=message):
        write_column(tmp_path / "s", [Ragged.of_rows(rows)])


def test_store_refuses_blocks_of_different_shapes(tmp_path: Path) -> None:
    blocks = [Ragged.of_rows([np.zeros((1, width))]) for width in (2, 3)]
    with pytest.raises(PluginError, match=r"the column 'source' of a task: .*\[2\] and \[3\]"):
        write_column(tmp_path / "s", blocks)


@settings(max_examples=30, deadline=None)
@given(data=st.data(), rows=st.lists(st.lists(st.integers(0, 9), max_size=5), min_size=1, max_size=9))
def test_ragged_take_copies_rows_in_the_order_given(data: st.DataObject, rows: list[list[int]]) -> None:
    index = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=12))
    taken = ragged(rows).take(np.array(index, np.int64))
    assert [taken.row(i).tolist() for i in range(len(index))] == [rows[i] for i in index]


@pytest.mark.parametrize(
    ("top", "dtype"), [(255, "|u1"), (256, "<u2"), (65_535, "<u2"), (65_536, "<u4"), (2**32, "<u8")]
)
def test_writer_chooses_the_smallest_dtype(top: int, dtype: str, tmp_path: Path) -> None:
    store = write(tmp_path / "s", [([1], ""), ([2, 3], ""), ([top], ""), ([4], "")], block=1)
    assert store.columns["target"].values.dtype.str == dtype
    assert [store[i]["target"].tolist() for i in range(4)] == [[1], [2, 3], [top], [4]]


def test_store_returns_views_of_the_mapped_file(tmp_path: Path) -> None:
    row = write(tmp_path / "s", [([1, 2], "")])[0]["target"]
    assert not row.flags.owndata
    assert not row.flags.writeable


def test_store_index_beyond_the_end_raises(tmp_path: Path) -> None:
    with pytest.raises(IndexError):
        write(tmp_path / "s", [([1], "")])[1]


def truncate(folder: Path) -> None:
    path = folder / "target"
    path.write_bytes(path.read_bytes()[:-1])


def rotate_offsets(folder: Path) -> None:
    path = folder / "target.at"
    path.write_bytes(path.read_bytes()[8:] + bytes(8))


def edit_index(**changes: object) -> object:
    def change(folder: Path) -> None:
        index = json.loads((folder / "index.json").read_text())
        (folder / "index.json").write_text(json.dumps({**index, **changes}))

    return change


def test_store_without_hashes_of_an_older_version_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    write(folder, [([1, 300], "a")])
    assert len(Store.open(folder).digest) == 64
    change = edit_index(sha256={})
    assert callable(change)
    change(folder)
    assert Store.open(folder).digest == ""


def test_hashes_of_large_stores_are_not_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "s"
    write(folder, [([1, 300], "a")])
    (folder / "target.text").write_bytes(b"b")
    with pytest.raises(UserError, match=r"the bytes of target\.text are not those that were written"):
        Store.open(folder)
    monkeypatch.setattr("seqx.data.store._MAX_HASHED_BYTES", 3)
    assert Store.open(folder).text(0) == {"target": "b"}


@pytest.mark.promise("invalid-prepared-data")
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, "target has 5 bytes instead of 6"),
        (rotate_offsets, "the offsets in target.at do not fit target"),
        (lambda folder: (folder / "target.text").unlink(), "cannot read .*target.text"),
        (lambda folder: (folder / "index.json").unlink(), "not a store"),
        (lambda folder: (folder / "index.json").write_text("{"), "damaged"),
        (lambda folder: (folder / "index.json").write_text("[]"), "damaged"),
        (edit_index(format=99), "has format 99, not 1"),
        (edit_index(examples=4), "target.at has"),
        (edit_index(columns={"target": {"dtype": "<f4", "values": 3}}), "target has 6 bytes instead of 12"),
        (edit_index(columns={"target": {"dtype": "<u2", "values": 3, "width": 2}}), "6 bytes instead of 12"),
        (edit_index(columns={"target": {"dtype": "<u2", "values": 3, "width": -1}}), "'-1' is not a count"),
        (edit_index(columns={"target": {"dtype": "<u2", "values": 0, "width": 3}}), "instead of 0"),
        (edit_index(columns={"target": {"dtype": "object", "values": 3}}), "object"),
        (edit_index(columns=7), "damaged"),
        (edit_index(columns={"../target": {"dtype": "|u1", "values": 3}}), "is not the name of a column"),
        (edit_index(columns={"/etc/passwd": {"dtype": "|u1", "values": 3}}), "is not the name of a column"),
        (edit_index(columns={"target": {"dtype": "<u2", "values": -1}}), "'-1' is not a count"),
        (edit_index(examples=float("inf")), "'inf' is not a count"),
        (edit_index(examples=2**70), "target.at has"),
        (lambda folder: (folder / "index.json").write_text("[" * 100_000), "nested too deep"),
        (lambda folder: os.truncate(folder / "index.json", 1 << 40), "the maximum is 1,048,576"),
        (lambda folder: (folder / "index.json").write_bytes(b"\xff"), "damaged"),
        (edit_index(texts=None), "damaged"),
        (edit_index(sha256={"/dev/zero": "0"}), "'/dev/zero' is not one of its files"),
    ],
)
def test_damaged_store_is_refused(damage: object, message: str, tmp_path: Path) -> None:
    folder = tmp_path / "s"
    write(folder, [([1, 300], "a"), ([], "b"), ([2], "")])
    assert callable(damage)
    damage(folder)
    with pytest.raises(UserError, match=message) as caught:
        Store.open(folder)
    assert str(folder) in str(caught.value)
    assert "prepared again" in str(caught.value)


def test_missing_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a store"):
        Store.open(tmp_path / "nowhere")
