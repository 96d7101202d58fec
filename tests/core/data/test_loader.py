"""A thread plans epochs and builds the next batches; it ends with the loader, and its errors are raised."""

import gc
import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from seqx.data.batches import Batches
from seqx.data.loader import BatchLoader, Position
from seqx.data.plan import Plan, plan
from seqx.data.store import Store
from seqx.errors import UserError
from tests.core.data.pairs import Pairs, content, ids


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


def threads() -> set[threading.Thread]:
    return set(threading.enumerate())


def test_loader_thread_ends_when_closed_or_collected(store: Store) -> None:
    before = threads()
    batches = Batches(store=store, tokens=500)
    loader = BatchLoader(batches, prefetch=2)
    next(loader)
    assert threads() - before
    loader.close()
    assert not threads() - before
    assert list(loader) == []
    collected = BatchLoader(batches, prefetch=2)
    next(collected)
    del collected
    gc.collect()
    assert not threads() - before


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
    assert not batches.plan_lock.locked()


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


@pytest.mark.promise("batch-thread-fails")
def test_dead_loader_thread_is_an_error(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqx.data.loader._produce", lambda *_: None)
    with pytest.raises(
        UserError, match="the thread that builds batches ended unexpectedly; run the same command"
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
    assert not threads() - before
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
