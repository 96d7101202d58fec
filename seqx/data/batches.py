"""Updates as padded tensors, made by a thread while training computes."""

import queue
import random
import threading
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from seqx.data.plan import TARGET, Plan, plan
from seqx.data.store import Ragged, Store
from seqx.errors import UserError
from seqx.interfaces.text import Task
from seqx.interfaces.values import WORDS, Batch, Tokens
from seqx.runtime.signals import in_thread

Integers = NDArray[np.integer[Any]]


@dataclass(frozen=True, order=True)
class Position:
    """Which update of which epoch; both counted from 0."""

    epoch: int = 0
    index: int = 0


@dataclass(frozen=True, kw_only=True)
class UpdateBatch:
    """What one step of the optimizer learns from: this device's share of it, in parts that fit its memory."""

    position: Position
    parts: list[Batch]
    rows: list[Integers]  # the numbers of each part's examples
    count: int  # target tokens of the whole update, over all devices
    useful: float  # share of the places of `parts`, all columns together, that hold tokens
    spare: tuple[Batch, Integers] | None = None  # a short example of a shared update, and its number

    @property
    def next(self) -> Position:
        """Where to go on after this update."""
        return Position(self.position.epoch, self.position.index + 1)


@dataclass(frozen=True, kw_only=True)
class Batches:
    """The updates of training, as a function of their positions.

    Args:
        store: the examples
        tokens: target tokens of one update, over all devices and parts
        groups: groups of examples of similar lengths that an update is made of
        seed: of the order of examples
        microbatch: the most places of a part, rows times the longest of all columns; None: a part is a group
        rank: this device among those that share each update
        world: how many devices share each update
        task: encodes each example anew in each epoch (subword regularisation); None: as they are in the store
    """

    store: Store
    tokens: int
    groups: int = 1
    seed: int = 1
    microbatch: int | None = None
    rank: int = 0
    world: int = 1
    task: Task | None = None
    _plans: dict[int, Plan] = field(init=False, repr=False, compare=False, default_factory=dict)
    _lock: threading.Lock = field(init=False, repr=False, compare=False, default_factory=threading.Lock)

    def plan(self, epoch: int) -> Plan:
        """The updates of an epoch; that of the epoch that was last asked for is kept."""
        with self._lock:
            if epoch not in self._plans:
                columns = self.store.columns.items()
                lengths = {name: column.lengths().astype(np.int32) for name, column in columns}
                self._plans.clear()
                self._plans[epoch] = plan(
                    lengths, tokens=self.tokens, groups=self.groups, seed=self.seed, epoch=epoch
                )
            return self._plans[epoch]

    @property
    def planning(self) -> bool:
        """Whether an epoch is being planned now, which takes half a minute for tens of millions of rows."""
        return self._lock.locked()

    def portion(self, plan: Plan, position: Position, *, pin: bool = False) -> UpdateBatch:
        """This device's portion of the update at a position, in the `plan` of its epoch.

        `pin`: in memory that a GPU copies from.
        """
        batches, rows, count, tokens, places = [], list[Integers](), 0, 0, 0
        spare = None
        for group in self._groups(plan.rows(position.index)):
            columns = self._columns(group, position.epoch)
            count += len(columns[TARGET].values)
            if self.world > 1 and spare is None:
                shortest = columns[TARGET].lengths().argsort(kind="stable")[:1]
                short = {name: column.take(shortest) for name, column in columns.items()}
                spare = pack(short, pin=pin), group[shortest]
            for part in split(columns, self.microbatch, self.rank, self.world):
                batches.append(pack({name: column.take(part) for name, column in columns.items()}, pin=pin))
                rows.append(group[part])
                packed = batches[-1].columns
                tokens += sum(int(columns[name].lengths()[part].sum()) for name in packed)
                places += sum(column.ids.numel() for column in packed.values())
        useful = tokens / max(1, places)
        return UpdateBatch(
            position=position, parts=batches, rows=rows, count=count, useful=useful, spare=spare
        )

    def whole(self) -> "Batches":
        """The same for one device, that has all of each update."""
        return replace(self, rank=0, world=1)

    def batch(self, rows: Integers, epoch: int) -> Batch:
        """Some examples, by their numbers, as an epoch encodes them."""
        return pack(self._columns(rows, epoch))

    def largest(self, epoch: int) -> UpdateBatch:
        """The portion of the update of an epoch that needs the most memory."""
        plan = self.plan(epoch)
        return self.portion(plan, Position(epoch, plan.largest))

    def portions(
        self, start: Position, *, without: Collection[Position] = (), pin: bool = False
    ) -> Iterator[UpdateBatch]:
        """The portions of all updates from a position on but those at `without`, for ever.

        Each epoch is planned while the last tenth of the one before it is learnt from.
        """
        epoch, index = start.epoch, start.index
        planned = in_thread(partial(self.plan, epoch))
        while True:
            plan, following = planned.result(), None
            for i in range(index, len(plan)):
                if following is None and i >= len(plan) * 9 // 10:
                    following = in_thread(partial(self.plan, epoch + 1))
                if Position(epoch, i) not in without:
                    yield self.portion(plan, Position(epoch, i), pin=pin)
            epoch, index = epoch + 1, 0
            planned = following or in_thread(partial(self.plan, epoch))

    def _groups(self, groups: list[Integers]) -> list[Integers]:
        """What is cut into parts as a whole: groups where parts are groups, else the update."""
        return groups if self.microbatch is None else [np.concatenate(groups)]

    def _columns(self, rows: Integers, epoch: int) -> dict[str, Ragged]:
        """The columns of some examples."""
        if self.task is None:
            return {name: column.take(rows) for name, column in self.store.columns.items()}
        encoded = [
            self.task.encode(self.store.text(row), random.Random(f"{self.seed} {epoch} {row}"))  # noqa: S311
            for row in map(int, rows)
        ]
        return {
            name: Ragged.of(
                np.array([i for example in encoded for i in example[name]], np.int64),
                np.array([len(example[name]) for example in encoded], np.int64),
            )
            for name in self.store.columns
        }


def split(columns: Mapping[str, Ragged], microbatch: int | None, rank: int, world: int) -> list[Integers]:
    """The parts of some examples that one device computes: rows of similar lengths, in each part.

    Args:
        columns: of the examples
        microbatch: the most places of a part, rows times the longest of all columns; None: any
        rank: the device
        world: how many devices share the examples; together they have each of them once
    """
    lengths = [column.lengths() for column in columns.values()]
    longest = np.maximum.reduce(lengths)
    order = np.lexsort((*lengths, longest))[rank::world]
    if microbatch is None:
        return [order] if len(order) else []
    parts: list[Integers] = []
    start, ordered = 0, longest[order]
    while start < len(order):
        places = ordered[start:] * np.arange(1, len(order) - start + 1)
        end = start + max(1, int(places.searchsorted(microbatch, "right")))
        parts.append(order[start:end])
        start = end
    return parts


def pack(columns: Mapping[str, Ragged], *, pin: bool = False) -> Batch:
    """Columns of examples as right-padded tensors."""
    tokens = {name: _padded(column) for name, column in columns.items()}
    if WORDS in tokens:
        source, starts = tokens["source"], tokens.pop(WORDS).ids
        tokens["source"] = Tokens.of(source.ids, source.layout.keep.sum(1), starts)
    if pin:
        tokens = {name: column.pinned() for name, column in tokens.items()}
    return Batch(tokens, len(columns[TARGET].values))


def _padded(column: Ragged) -> Tokens:
    lengths = column.lengths()
    ids = np.zeros((len(lengths), int(lengths.max(initial=0))), np.int64)
    ids[np.arange(ids.shape[1]) < lengths[:, None]] = column.values
    return Tokens.of(torch.from_numpy(ids), torch.from_numpy(lengths))


_FIRST = Position()


class Loader:
    """Iterates over updates that a thread makes ahead; stops the thread when closed or forgotten.

    Args:
        batches: makes the updates
        start: the first of them
        without: where updates are passed over
        device: that will compute them
        ahead: how many are made before they are asked for
        waiting: in its block nobody is to blame for not getting on, as an epoch is being planned
    """

    def __init__(
        self,
        batches: Batches,
        start: Position = _FIRST,
        *,
        without: Collection[Position] = (),
        device: torch.device | None = None,
        ahead: int = 8,
        waiting: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._batches = batches
        self._waiting = waiting
        pin = device is not None and device.type == "cuda"
        self._queue: queue.Queue[UpdateBatch | BaseException] = queue.Queue(ahead)
        stop = threading.Event()
        # The thread knows nothing of this object, which can thus be forgotten while the thread runs.
        stream = batches.portions(start, without=without, pin=pin)
        thread = threading.Thread(target=_produce, args=(stream, self._queue, stop), daemon=True)
        self._thread = thread
        self._close = weakref.finalize(self, _stop, thread, stop)
        thread.start()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> UpdateBatch:
        if not self._close.alive:
            raise StopIteration
        portion = self._next()
        if isinstance(portion, BaseException):
            self.close()
            raise portion
        return portion

    def _next(self) -> UpdateBatch | BaseException:
        while True:
            # Asked first: what it made before it ended is in the queue.
            alive = self._thread.is_alive()
            with self._waiting() if self._batches.planning else nullcontext():
                try:
                    return self._queue.get(timeout=_PATIENCE if alive else 0)
                except queue.Empty:
                    if not alive:
                        return UserError("the thread that makes batches died; the same command goes on")

    def close(self) -> None:
        """Stop the thread; there are no further updates."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


_PATIENCE = 0.05  # seconds after which a thread that waits for room looks whether it is still wanted
_FAREWELL = 1.0  # seconds that a thread has to end in; one that waits for a plan ends by itself later


def _produce(
    portions: Iterator[UpdateBatch], out: "queue.Queue[UpdateBatch | BaseException]", stop: threading.Event
) -> None:
    try:
        for portion in portions:
            if not _put(portion, out, stop):
                return
    except BaseException as error:  # noqa: BLE001
        _put(error, out, stop)


def _put(
    item: UpdateBatch | BaseException, out: "queue.Queue[UpdateBatch | BaseException]", stop: threading.Event
) -> bool:
    while not stop.is_set():
        try:
            out.put(item, timeout=_PATIENCE)
        except queue.Full:
            continue
        return True
    return False


def _stop(thread: threading.Thread, stop: threading.Event) -> None:
    stop.set()
    # Garbage may be collected, and this be called, in the thread itself.
    if thread is not threading.current_thread():
        thread.join(_FAREWELL)
