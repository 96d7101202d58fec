"""Updates become padded batches, which are the same for any number of ranks."""

import itertools
import multiprocessing
import os
import random
import signal
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqx.data.batches import Batches, split_into_microbatches
from seqx.data.loader import BatchLoader, Position, UpdateBatch
from seqx.data.prepare import prepare
from seqx.data.ragged import Ragged
from seqx.data.store import Store
from seqx.errors import UserError
from seqx.interfaces.task import Example, Rejected
from seqx.interfaces.tensors import WORDS
from tests.core.data.pairs import Pair, Pairs, content, ids, pairs, rows


def stored(store: Store, index: list[int]) -> list[Pair]:
    return sorted((tuple(store[i]["source"].tolist()), tuple(store[i]["target"].tolist())) for i in index)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_update_is_the_same_for_any_number_of_ranks(data: st.DataObject, store: Store) -> None:
    tokens, groups = data.draw(st.integers(1, 3000)), data.draw(st.integers(1, 4))
    microbatch = data.draw(st.none() | st.integers(1, 2000))
    world = data.draw(st.integers(1, 9))
    whole = Batches(store=store, tokens=tokens, groups=groups)
    plan = whole.plan(0)
    position = Position(0, data.draw(st.integers(0, len(plan) - 1)))
    shares = [
        Batches(store=store, tokens=tokens, groups=groups, microbatch=microbatch, rank=rank, world_size=world)
        for rank in range(world)
    ]
    updates = [share.update_batch(share.plan(0), position) for share in shares]
    expected = stored(store, np.concatenate(plan.example_groups(position.index)).tolist())
    assert content(updates) == content([whole.update_batch(plan, position)]) == expected
    assert {update.target_tokens for update in updates} == {plan.num_target_tokens(position.index)}
    assert sum(
        batch.count for update in updates for batch, _ in update.microbatches
    ) == plan.num_target_tokens(position.index)


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.tuples(st.integers(0, 30), st.integers(1, 30)), min_size=1, max_size=60),
    microbatch=st.integers(1, 300),
    world=st.integers(1, 4),
)
def test_microbatches_fit_and_rows_are_shared_evenly(
    lengths: list[tuple[int, int]], microbatch: int, world: int
) -> None:
    columns = {
        name: Ragged.of(np.zeros(sum(side), np.int64), np.array(side, np.int64))
        for name, side in zip(("source", "target"), zip(*lengths, strict=True), strict=True)
    }
    shares = [split_into_microbatches(columns, microbatch, rank, world) for rank in range(world)]
    for part in itertools.chain(*shares):
        assert len(part) == 1 or len(part) * max(max(lengths[i]) for i in part) <= microbatch
    assert sorted(np.concatenate([*itertools.chain(*shares)]).tolist()) == [*range(len(lengths))]
    sizes = [sum(map(len, share)) for share in shares]
    assert max(sizes) - min(sizes) <= 1


def test_rank_without_rows_gets_no_microbatch(store: Store) -> None:
    last = Batches(store=store, tokens=1, world_size=2, rank=1)
    assert last.update_batch(last.plan(0), Position()).microbatches == []


def test_token_fraction_is_tokens_divided_by_padded_tokens(store: Store) -> None:
    batches = Batches(store=store, tokens=500, microbatch=300)
    update = batches.update_batch(batches.plan(0), Position(0, 3))
    columns = [tokens for batch, _ in update.microbatches for tokens in batch.columns.values()]
    kept = sum(int(tokens.layout.keep.sum()) for tokens in columns)
    assert update.token_fraction == kept / sum(tokens.values.numel() for tokens in columns)


class Frames(Pairs):
    """A task whose source has one vector for each word, and a number for each target token."""

    def example(self, row: tuple[str, ...], *, training: bool) -> Example | Rejected:
        example = super().example(row, training=training)
        assert isinstance(example, Example)
        ids = np.array(example.columns["source"])
        frames = np.stack([np.sin(ids), np.cos(ids), ids / 7], 1)
        weights = [1 / i for i in example.columns["target"]]
        return Example(columns={**example.columns, "source": frames, "weights": weights})


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return prepare(Frames({"train": rows(200)}), "train", {}, tmp_path_factory.mktemp("frames"), text=False)


def test_batches_hold_floats_and_vectors(frames: Store) -> None:
    batches = Batches(store=frames, tokens=500, microbatch=200)
    for batch, examples in batches.update_batch(batches.plan(0), Position(0, 1)).microbatches:
        source, weights = (batch.columns[name] for name in ("source", "weights"))
        assert source.values.shape == (*source.layout.keep.shape, 3)
        assert source.values.dtype == weights.values.dtype == torch.float32
        assert not source.values[~source.layout.keep].any()
        for i, example in enumerate(examples):
            for name, column in (("source", source), ("weights", weights)):
                assert column.values[i][column.layout.keep[i]].tolist() == frames[example][name].tolist()


def test_microbatches_count_frames_of_vectors(frames: Store) -> None:
    batches = Batches(store=frames, tokens=500, microbatch=200)
    update = batches.update_batch(batches.plan(0), Position(0, 1))
    sizes = [max(c.layout.keep.numel() for c in batch.columns.values()) for batch, _ in update.microbatches]
    assert max(sizes) <= 200 < sum(sizes)
    kept = sum(int(c.layout.keep.sum()) for b, _ in update.microbatches for c in b.columns.values())
    assert update.token_fraction == kept / sum(m.padded_tokens for m in update.microbatches)


def test_batch_of_vectors_moves_to_another_device(frames: Store) -> None:
    batch = Batches(store=frames, tokens=500).batch(np.arange(3), 0).to(torch.device("meta"))
    for column in batch.columns.values():
        assert column.values.is_meta
        assert column.layout.keep.is_meta


class Syllables(Pairs):
    """A task in which each word has one to three tokens."""

    def example(self, row: tuple[str, ...], *, training: bool) -> Example | Rejected:
        example = super().example(row, training=training)
        assert isinstance(example, Example)
        return Example(columns=self._syllables(example.columns), text=example.text)

    def encode(self, text: Mapping[str, str], rng: random.Random) -> Mapping[str, list[int]]:
        return self._syllables(super().encode(text, rng))

    def _syllables(self, columns: Mapping[str, list[int]]) -> dict[str, list[int]]:
        *words, end = columns["source"]
        source = [i for i in words for _ in range(1 + i % 3)]
        starts = [int(offset == 0) for i in words for offset in range(1 + i % 3)]
        return {"source": [*source, end], "target": columns["target"], WORDS: [*starts, 0]}


@pytest.mark.parametrize("resegmented", [False, True])
def test_source_layout_has_the_word_of_each_token(tmp_path: Path, *, resegmented: bool) -> None:
    task = Syllables({"train": rows(60)})
    store = prepare(task, "train", {}, tmp_path)
    batches = Batches(store=store, tokens=400, task=task if resegmented else None)
    update = batches.update_batch(batches.plan(0), Position(1, 2))
    assert update.microbatches
    for batch, _ in update.microbatches:
        assert set(batch.columns) == {"source", "target"}
        assert batch.columns["target"].layout.words is None
        source = batch.to(torch.device("cpu")).columns["source"]
        for i, length in enumerate(source.layout.keep.sum(1).tolist()):
            ids, word = source.values[i, : length - 1].tolist(), -1
            expected = list[int]()
            while len(expected) < len(ids):
                word += 1
                expected += [word] * (1 + ids[len(expected)] % 3)
            assert source.layout.words is not None
            assert source.layout.words[i, :length].tolist() == [*expected, word]
    kept = sum(
        int(tokens.layout.keep.sum()) for batch, _ in update.microbatches for tokens in batch.columns.values()
    )
    assert update.token_fraction == kept / sum(
        tokens.values.numel() for batch, _ in update.microbatches for tokens in batch.columns.values()
    )


def test_largest_update_has_the_most_padded_tokens(store: Store) -> None:
    batches = Batches(store=store, tokens=1500)
    largest, plan = batches.largest_update(0), batches.plan(0)

    def padded_tokens(update: UpdateBatch) -> int:
        return sum(
            tokens.values.numel() for batch, _ in update.microbatches for tokens in batch.columns.values()
        )

    assert padded_tokens(largest) == max(
        padded_tokens(batches.update_batch(plan, Position(0, i))) for i in range(len(plan))
    )


def test_resegmentation_depends_only_on_seed_epoch_and_example(store: Store, task: Pairs) -> None:
    batches = Batches(store=store, tokens=1000, task=task)
    plan = batches.plan(0)
    first = batches.update_batch(plan, Position(0, 2))
    assert first.target_tokens == sum(len(target) for _, target in content([first]))
    assert first.target_tokens > plan.num_target_tokens(2)
    shares = [
        Batches(store=store, tokens=1000, task=task, microbatch=200, rank=rank, world_size=2).update_batch(
            plan, Position(0, 2)
        )
        for rank in (0, 1)
    ]
    assert content(shares) == content([first])
    assert {share.target_tokens for share in shares} == {first.target_tokens}
    assert content([batches.update_batch(plan, Position(1, 2))]) != content([first])
    other = Batches(store=store, tokens=1000, task=task, seed=2)
    assert content([other.update_batch(plan, Position(0, 2))]) != content([first])


@pytest.mark.slow
def test_resegmentation_does_not_depend_on_the_number_of_processes(store: Store, task: Pairs) -> None:
    alone, helped = (
        Batches(store=store, tokens=1000, groups=2, task=task, processes=processes) for processes in (0, 2)
    )
    last = len(alone.plan(0)) - 1
    for start, skip in ((Position(), {Position(0, 1)}), (Position(0, last - 1), {Position(1, 0)})):
        with BatchLoader(helped, start, skip=skip, prefetch=2) as loader:
            updates = list(itertools.islice(loader, 4))
        expected = list(itertools.islice(alone.update_batches(start, skip=skip), 4))
        assert [update.position for update in updates] == [update.position for update in expected]
        assert list(map(ids, updates)) == list(map(ids, expected))
    assert not multiprocessing.active_children()


class Dying(Pairs):
    """A task that kills the process that encodes its text again."""

    def encode(self, text: object, rng: object) -> dict[str, list[int]]:
        os.kill(os.getpid(), signal.SIGKILL)
        return {}


@pytest.mark.slow
@pytest.mark.promise("preparation-worker-dies")
def test_killed_process_that_samples_segmentations_is_an_error(store: Store) -> None:
    batches = Batches(store=store, tokens=1000, task=Dying(), processes=1)
    with BatchLoader(batches) as loader, pytest.raises(UserError, match="was killed"):
        next(loader)
    assert not multiprocessing.active_children()


class Stopped(Pairs):
    """A task whose text is encoded again while its process gets a signal, as when a job is stopped."""

    def encode(self, text: Mapping[str, str], rng: random.Random) -> Mapping[str, list[int]]:
        os.kill(os.getpid(), signal.SIGTERM)
        return super().encode(text, rng)


@pytest.mark.slow
def test_process_that_samples_segmentations_continues_when_a_job_is_stopped(store: Store) -> None:
    """Schedulers send SIGTERM to all processes; the main one finishes its update before it stops."""
    with BatchLoader(Batches(store=store, tokens=100, task=Stopped(), processes=1)) as loader:
        assert next(loader).position == Position(0, 0)
    assert not multiprocessing.active_children()


def test_rows_of_each_microbatch_are_its_examples(store: Store) -> None:
    update = next(Batches(store=store, tokens=500, microbatch=200).update_batches(Position()))
    assert len(update.microbatches) > 1
    for batch, indices in update.microbatches:
        assert pairs(batch) == [
            (tuple(store[i]["source"].tolist()), tuple(store[i]["target"].tolist())) for i in indices
        ]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_batches_for_cuda_are_pinned(store: Store) -> None:
    with BatchLoader(Batches(store=store, tokens=500), device=torch.device("cuda")) as loader:
        tokens = next(loader).microbatches[0].batch.columns["target"]
    assert tokens.values.is_pinned()
    assert tokens.layout.keep.is_pinned()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_words_of_batches_for_cuda_are_pinned(tmp_path: Path) -> None:
    task = Syllables({"train": rows(60)})
    batches = Batches(store=prepare(task, "train", {}, tmp_path), tokens=400)
    with BatchLoader(batches, device=torch.device("cuda")) as loader:
        words = next(loader).microbatches[0].batch.columns["source"].layout.words
    assert words is not None
    assert words.is_pinned()


def test_position_after_is_that_of_the_stream(store: Store) -> None:
    batches = Batches(store=store, tokens=600)
    skip = {Position(0, 1), Position(1, 0)}
    stream = [each.position for each in itertools.islice(batches.update_batches(Position(), skip=skip), 30)]
    assert stream[-1].epoch > 0
    assert [batches.position_after(Position(), i, skip=skip) for i in range(30)] == stream
    assert [batches.position_after(stream[3], i, skip=skip) for i in range(27)] == stream[3:]
