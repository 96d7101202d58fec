"""Rows that hold several examples: each example once, few shapes, little padding; and their batches."""

import gzip
import hashlib
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import corpus
from seqx.data.batches import Batches
from seqx.data.loader import Position
from seqx.data.packing import plan_packed
from seqx.data.plan import Plan
from seqx.data.prepare import prepare
from seqx.data.ragged import Integers
from seqx.data.store import Store
from tests.core.data.pairs import Pairs, rows

SHAPES, USEFUL = 16, 0.97
"""The largest number of batch shapes of an epoch, and the smallest share of tokens that are not padding."""


def planned(sides: Integers, tokens: int, epoch: int = 0) -> Plan:
    lengths = {"source": sides[0].astype(np.int32), "target": sides[1].astype(np.int32)}
    return plan_packed(lengths, tokens=tokens, seed=1, epoch=epoch)


def shapes(plan: Plan) -> list[tuple[int, int, int]]:
    """Return the rows and the row lengths of source and target of each update."""
    assert plan.row_lengths is not None
    columns = (plan.row_lengths["source"].tolist(), plan.row_lengths["target"].tolist())
    return list(zip(np.diff(plan.updates).tolist(), *columns, strict=True))


def useful(plan: Plan) -> float:
    """Return the share of tokens that are not padding."""
    padded = sum(count * (source + target) for count, source, target in shapes(plan))
    return float(sum(lengths.sum() for lengths in plan.lengths.values()) / padded)


pairs = st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), min_size=1, max_size=120)


@settings(max_examples=100, deadline=None)
@given(pairs=pairs, tokens=st.integers(1, 300), epoch=st.integers(0, 3))
def test_packed_plan_has_each_example_once_in_a_row_that_holds_it(
    pairs: list[tuple[int, int]], tokens: int, epoch: int
) -> None:
    plan = planned(np.array(pairs).T, tokens, epoch)
    updates = [plan.example_groups(i) for i in range(len(plan))]
    assert sorted(i for update in updates for row in update for i in row.tolist()) == [*range(len(pairs))]
    for update, (count, source, target) in zip(updates, shapes(plan), strict=True):
        assert len(update) == count
        assert sum(pairs[i][1] for row in update for i in row) <= max(tokens, target)
        assert count == 1 or count * target <= tokens
        for row in update:
            assert sum(pairs[i][0] for i in row) <= source
            assert sum(pairs[i][1] for i in row) <= target
    largest = shapes(plan)[plan.largest]
    assert largest[0] * sum(largest[1:]) == max(count * (s + t) for count, s, t in shapes(plan))


def assert_few_shapes(sides: Integers) -> None:
    for epoch in (0, 1):
        plan = planned(sides, 25_000, epoch)
        assert len({*shapes(plan)}) <= SHAPES
        assert useful(plan) >= USEFUL


@pytest.mark.parametrize(("count", "mean"), [(29_000, 13), (100_000, 27)])
def test_epoch_of_generated_lengths_has_few_shapes_and_little_padding(count: int, mean: int) -> None:
    assert_few_shapes(corpus.lengths(np.random.default_rng(1), count, mean=mean).T + 1)


@pytest.mark.parametrize("name", ["tatoeba_en_de/train", "wmt_slices_en_de/stanford10k.tok"])
def test_epoch_of_real_text_has_few_shapes_and_little_padding(name: str) -> None:
    """The lengths are words; with subwords see benchmarks/results/batch_shapes.json."""
    files = [Path(os.environ.get("SEQX_DATA", ""), f"{name}.{side}.gz") for side in ("en", "de")]
    if not files[0].is_file():
        pytest.skip("no data")
    texts = [gzip.decompress(file.read_bytes()).decode().splitlines()[:100_000] for file in files]
    assert_few_shapes(np.array([[len(line.split()) + 1 for line in text] for text in texts]))


def test_epoch_of_trees_has_few_shapes_and_little_padding() -> None:
    """The lengths are words and brackets. They differ more than sentences, so rows have more padding."""
    file = Path(os.environ.get("SEQX_DATA", ""), "craft_treebank", "train.tree.gz")
    if not file.is_file():
        pytest.skip("no data")
    trees = [tree for tree in gzip.decompress(file.read_bytes()).decode().split("\n") if tree.strip()]
    words = np.array([len(re.findall(r"\([^\s()]+ [^\s()]+\)", tree)) for tree in trees])
    brackets = np.array([tree.count("(") for tree in trees]) - 1 - words
    plan = planned(np.array([words, words + 2 * brackets]) + 1, 25_000)
    assert len({*shapes(plan)}) <= SHAPES
    assert useful(plan) >= USEFUL - 0.005


def test_columns_with_the_lengths_of_the_source_do_not_change_the_plan() -> None:
    sides = corpus.lengths(np.random.default_rng(1), 5000).T + 1
    lengths = {"source": sides[0].astype(np.int32), "target": sides[1].astype(np.int32)}
    expected = plan_packed(lengths, tokens=2000, seed=1, epoch=0)
    plan = plan_packed({**lengths, "tags": lengths["source"]}, tokens=2000, seed=1, epoch=0)
    assert np.array_equal(plan.order, expected.order)
    assert plan.row_lengths is not None
    assert np.array_equal(plan.row_lengths["tags"], plan.row_lengths["source"])


def test_very_long_examples_have_few_shapes() -> None:
    sides = corpus.lengths(np.random.default_rng(1), 20_000).T + 1
    sides[:, ::1000] = np.geomspace(300, 100_000, 20).astype(int)
    assert len({*shapes(planned(sides, 25_000))}) <= SHAPES


def test_packed_plan_is_reproducible() -> None:
    """A resumed run needs the plan with which it began, also with another version of numpy."""
    plan = planned(corpus.lengths(np.random.default_rng(1), 5000).T + 1, 2000, epoch=2)
    text = b"".join(array.astype(np.int64).tobytes() for array in (plan.order, plan.groups, plan.updates))
    assert hashlib.sha256(text).hexdigest()[:16] == "a43c318c14c9fb36"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return prepare(Pairs({"train": rows(400)}), "train", {}, tmp_path_factory.mktemp("cache"))


@pytest.mark.parametrize("microbatch", [None, 600])
def test_packed_batches_contain_the_examples_of_all_ranks(microbatch: int | None, store: Store) -> None:
    parts = [
        Batches(store=store, tokens=900, microbatch=microbatch, rank=rank, world_size=2, packed=True)
        for rank in (0, 1)
    ]
    plan = parts[0].plan(0)
    updates = [part.update_batch(plan, Position(0, 0)) for part in parts]
    assert updates[0].target_tokens == plan.num_target_tokens(0)
    microbatches = [each for update in updates for each in update.microbatches]
    assert sum(each.batch.count for each in microbatches) == plan.num_target_tokens(0)
    assert all(each.padded_tokens <= 2 * microbatch for each in microbatches if microbatch)
    seen = []
    for each in (half for whole in microbatches for half in whole.halves()):
        assert each.batch.count == int(each.batch.columns["target"].layout.keep.sum())
        for name, column in each.batch.columns.items():
            values, (keep, positions, segments, _) = column
            assert segments is not None
            for number, example in enumerate(each.examples.tolist()):
                row = int(each.row_of[number])
                inside = keep[row] & (segments[row] == number - int(np.searchsorted(each.row_of, row)))
                assert values[row][inside].tolist() == store[example][name].tolist()
                assert positions[row][inside].tolist() == [*range(int(inside.sum()))]
            assert not values[~keep].any()
        seen += each.examples.tolist()
    assert sorted(seen) == sorted(np.concatenate(plan.example_groups(0)).tolist())


@pytest.mark.parametrize("microbatch", [None, 600])
def test_packed_update_with_fewer_rows_than_ranks_has_a_dummy_for_the_others(
    microbatch: int | None, store: Store
) -> None:
    parts = [
        Batches(store=store, tokens=900, microbatch=microbatch, rank=rank, world_size=64, packed=True)
        for rank in range(64)
    ]
    plan = parts[0].plan(0)
    num_rows = len(plan.example_groups(0))
    assert num_rows < 64
    updates = [part.update_batch(plan, Position(0, 0)) for part in parts]
    assert [len(update.microbatches) for update in updates] == [1] * num_rows + [0] * (64 - num_rows)
    assert all(update.dummy is not None for update in updates)
    assert sum(each.batch.count for update in updates for each in update.microbatches) == (
        plan.num_target_tokens(0)
    )


def test_packed_batches_have_one_shape(store: Store) -> None:
    batches = Batches(store=store, tokens=900, packed=True)
    plan = batches.plan(0)
    found = {
        tuple(column.values.shape)
        for i in range(len(plan))
        for column in batches.update_batch(plan, Position(0, i)).microbatches[0].batch.columns.values()
    }
    assert len(found) <= 2 * len({*shapes(plan)})
    first = batches.update_batch(plan, Position(0, 0))
    assert first.token_fraction == pytest.approx(
        sum(int(c.layout.keep.sum()) for c in first.microbatches[0].batch.columns.values())
        / first.microbatches[0].padded_tokens
    )
    assert torch.equal(
        first.microbatches[0].batch.columns["target"].layout.keep.sum(), torch.tensor(first.target_tokens)
    )
