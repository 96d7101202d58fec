"""Updates become padded batches, the same for any number of ranks; a thread builds the next batches."""

import gc
import itertools
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqx.data.batches import Batches, split_into_microbatches
from seqx.data.loader import BatchLoader, Position, UpdateBatch
from seqx.data.plan import Plan, plan
from seqx.data.prepare import prepare
from seqx.data.ragged import Ragged
from seqx.data.store import Store
from seqx.errors import UserError
from seqx.interfaces.task import Example, Rejected
from seqx.interfaces.tensors import PAD, WORDS, Batch
from tests.core.data.pairs import Pairs, rows

Pair = tuple[tuple[int, ...], tuple[int, ...]]


@pytest.fixture(scope="module")
def task() -> Pairs:
    return Pairs({"train": rows(400)})


@pytest.fixture(scope="module")
def store(task: Pairs, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return prepare(task, "train", {}, tmp_path_factory.mktemp("cache"))


def pairs(batch: Batch) -> list[Pair]:
    """Return the examples of a batch without padding."""
    examples = []
    for i in range(len(batch.columns["target"].values)):
        sides = []
        for name in ("source", "target"):
            ids, (keep, positions, *_) = batch.columns[name]
            assert ids.dtype == torch.int64
            assert (ids[~keep] == PAD).all()
            assert positions[i][keep[i]].tolist() == list(range(int(keep[i].sum())))
            sides.append(tuple(ids[i][keep[i]].tolist()))
        examples.append((sides[0], sides[1]))
    assert batch.count == sum(len(target) for _, target in examples)
    return examples


def content(updates: list[UpdateBatch]) -> list[Pair]:
    """Return all examples of one update, sorted; `updates` has the part of each rank."""
    return sorted(pair for update in updates for batch, _ in update.microbatches for pair in pairs(batch))


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
    expected = stored(store, np.concatenate(plan.rows(position.index)).tolist())
    assert content(updates) == content([whole.update_batch(plan, position)]) == expected
    assert {update.target_tokens for update in updates} == {plan.count(position.index)}
    assert sum(batch.count for update in updates for batch, _ in update.microbatches) == plan.count(
        position.index
    )


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


def ids(update: UpdateBatch) -> list[list[int]]:
    return [batch.columns["target"].values.tolist() for batch, _ in update.microbatches]


def test_loader_resumes_with_the_same_updates(store: Store) -> None:
    batches = Batches(store=store, tokens=1500, groups=2, microbatch=500)
    per_epoch = len(batches.plan(0))
    with BatchLoader(batches) as loader:
        updates = list(itertools.islice(loader, 2 * per_epoch + 3))
    assert {update.position.epoch for update in updates} == {0, 1, 2}
    for start in (4, per_epoch - 1, 2 * per_epoch):
        with BatchLoader(batches, updates[start - 1].next) as loader:
            resumed = list(itertools.islice(loader, 3))
        assert list(map(ids, resumed)) == list(map(ids, updates[start : start + 3]))
        assert [u.position for u in resumed] == [u.position for u in updates[start : start + 3]]


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
    assert first.target_tokens > plan.count(2)
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


def threads() -> set[threading.Thread]:
    return set(threading.enumerate())


def test_loader_thread_ends_when_closed_or_collected(store: Store) -> None:
    before = threads()
    batches = Batches(store=store, tokens=500)
    loader = BatchLoader(batches, prefetch=2)
    next(loader)
    assert threads() - before
    loader.close()
    assert threads() == before
    assert list(loader) == []
    collected = BatchLoader(batches, prefetch=2)
    next(collected)
    del collected
    gc.collect()
    assert threads() == before


@pytest.fixture
def slow_planning(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[list[int], threading.Event]]:
    """Delay the planning of epoch 1; return the list of planned epochs, and the event that ends the delay."""
    planned, go = list[int](), threading.Event()

    def delayed_plan(*args: Any, epoch: int, **kwargs: Any) -> Plan:
        planned.append(epoch)
        if epoch == 1:
            assert go.wait(60)
        return plan(*args, epoch=epoch, **kwargs)

    monkeypatch.setattr("seqx.data.batches.plan", delayed_plan)
    yield planned, go
    go.set()


@pytest.mark.promise("slow-planning")
def test_next_epoch_is_planned_in_advance(
    store: Store, slow_planning: tuple[list[int], threading.Event]
) -> None:
    planned, _ = slow_planning
    batches = Batches(store=store, tokens=100)
    updates = len(batches.plan(0))
    updates_ahead = batches.update_batches(Position())
    for _ in range(updates * 9 // 10):
        next(updates_ahead)
    assert planned == [0]
    next(updates_ahead)
    for _ in range(100):
        if planned == [0]:
            time.sleep(0.05)
    assert planned == [0, 1]
    assert next(updates_ahead).position.epoch == 0


@pytest.mark.promise("slow-planning")
def test_waiting_for_a_plan_enters_while_blocked(
    store: Store, slow_planning: tuple[list[int], threading.Event]
) -> None:
    _, go = slow_planning
    batches, waits = Batches(store=store, tokens=500), 0

    @contextmanager
    def while_blocked() -> Iterator[None]:
        nonlocal waits
        waits += 1
        yield
        go.set()

    with BatchLoader(batches, Position(0, len(batches.plan(0)) - 1), while_blocked=while_blocked) as loader:
        assert next(loader).position.epoch == 0
        assert next(loader).position == Position(1, 0)
    assert waits > 0


def test_error_in_planning_is_raised(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any, **__: Any) -> Plan:
        raise MemoryError

    batches = Batches(store=store, tokens=500)
    monkeypatch.setattr("seqx.data.batches.plan", failing)
    with BatchLoader(batches) as loader, pytest.raises(MemoryError):
        next(loader)
    assert not batches.planning.locked()


@pytest.mark.promise("slow-planning")
def test_closing_the_loader_does_not_wait_for_a_plan(
    store: Store, slow_planning: tuple[list[int], threading.Event]
) -> None:
    planned, _ = slow_planning
    loader = BatchLoader(Batches(store=store, tokens=500), Position(1, 0))
    while not planned:
        time.sleep(0.01)
    start = time.monotonic()
    loader.close()
    assert time.monotonic() - start < 10


def test_loader_skips_updates(store: Store) -> None:
    batches = Batches(store=store, tokens=500)
    last = len(batches.plan(0)) - 1
    skipped = {Position(0, 1), Position(0, last), Position(1, 0)}
    with BatchLoader(batches, Position(0, last - 2), skip=skipped) as loader:
        positions = [update.position for update in itertools.islice(loader, 3)]
    assert positions == [Position(0, last - 2), Position(0, last - 1), Position(1, 1)]
    first = next(batches.update_batches(Position(0, 1), skip=skipped))
    assert first.position == Position(0, 2)
    assert content([first]) == content([batches.update_batch(batches.plan(0), Position(0, 2))])


def test_rows_of_each_microbatch_are_its_examples(store: Store) -> None:
    update = next(Batches(store=store, tokens=500, microbatch=200).update_batches(Position()))
    assert len(update.microbatches) > 1
    for batch, indices in update.microbatches:
        assert pairs(batch) == [
            (tuple(store[i]["source"].tolist()), tuple(store[i]["target"].tolist())) for i in indices
        ]


@pytest.mark.promise("batch-thread-fails")
def test_dead_loader_thread_is_an_error(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqx.data.loader._produce", lambda *_: None)
    with pytest.raises(
        UserError, match="the thread that builds batches died; run the same command again to continue"
    ):
        next(BatchLoader(Batches(store=store, tokens=500)))


class Unencodable(Pairs):
    """A task that cannot encode its text again."""

    def encode(self, text: object, rng: object) -> dict[str, list[int]]:
        raise RuntimeError("cannot encode")


def test_exception_in_the_loader_thread_is_raised(store: Store) -> None:
    before = threads()
    loader = BatchLoader(Batches(store=store, tokens=500, task=Unencodable()))
    with pytest.raises(RuntimeError, match="cannot encode"):
        next(loader)
    assert threads() == before
    with pytest.raises(StopIteration):
        next(loader)


@pytest.mark.slow
def test_interpreter_exits_with_an_open_loader(store: Store) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from seqx.data.batches import Batches\n"
        "from seqx.data.loader import BatchLoader\n"
        "from seqx.data.store import Store\n"
        "loader = BatchLoader(Batches(store=Store.open(Path(sys.argv[1])), tokens=500))\n"
        "print(next(loader).target_tokens)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(store.folder)],
        check=False, capture_output=True, text=True, timeout=30,
        env={"PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > 400


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
