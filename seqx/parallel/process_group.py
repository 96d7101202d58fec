"""The processes of a run, as torchrun starts them, and what they say to each other.

What is said here goes over the CPU (gloo), so that nobody waits for a GPU; gradients go their own way, by
torch's wrappers of modules.
"""

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import PrefixStore  # public in torch.distributed but for its types
from torch.distributed.rendezvous import rendezvous

from seqx.errors import UserError
from seqx.parallel.heartbeat import Heartbeat, Mailbox, is_lost_contact

T = TypeVar("T")

PATIENCE = timedelta(days=30)
"""Of collective calls. Preparing, validating and saving take hours; who is gone is found by `Heartbeat`."""


class World:
    """The processes that train together, each with one device; of them this one.

    Every method must be called by all of them in the same order. Alone, nothing is sent.

    Args:
        rank: this process among all, from 0
        size: how many there are
        heartbeat: sees to it that none is gone; None: alone
        group: what they talk by
    """

    def __init__(
        self,
        rank: int = 0,
        size: int = 1,
        *,
        heartbeat: Heartbeat | None = None,
        group: dist.ProcessGroup | None = None,
    ) -> None:
        self.rank = rank
        self.size = size
        self._heartbeat = heartbeat
        self._group = group

    @property
    def is_rank_zero(self) -> bool:
        """Whether this is the process that writes files and tells events."""
        return self.rank == 0

    @contextlib.contextmanager
    def rank_zero_first(self) -> Iterator[None]:
        """The first process goes through the block while the others wait; then they do."""
        if not self.is_rank_zero:
            self.barrier()
        yield
        if self.is_rank_zero:
            self.barrier()

    def barrier(self) -> None:
        """Wait until all are here."""
        self.all_gather_ints([])

    def broadcast(self, value: T) -> T:
        """What the first process says."""
        if self.size == 1:
            return value
        held = [value]
        with self.waiting():
            dist.broadcast_object_list(held, src=0, group=self._group)
        return held[0]

    def all_gather(self, value: T) -> list[T]:
        """What each process says, by rank."""
        if self.size == 1:
            return [value]
        held: list[T] = [value] * self.size
        with self.waiting():
            dist.all_gather_object(held, value, group=self._group)
        return held

    def all_gather_ints(self, numbers: Sequence[int]) -> list[list[int]]:
        """The integers of each process, by rank; as many from each."""
        if self.size == 1:
            return [list(numbers)]
        own = torch.tensor([0, *numbers], dtype=torch.int64)
        every = [torch.empty_like(own) for _ in range(self.size)]
        with self.waiting():
            dist.all_gather(every, own, group=self._group)
        return [row.tolist()[1:] for row in every]

    def any(self, flag: bool) -> bool:
        """Whether it is so on any process."""
        return any(row[0] for row in self.all_gather_ints([int(flag)]))

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, in place, where the tensor is; the host does not wait for a GPU."""
        if self.size > 1:
            with self.waiting():
                dist.all_reduce(tensor)
        return tensor

    def clock(self) -> float:
        """Return monotonic seconds; with several processes without those in which this one was paused."""
        return time.monotonic() if self._heartbeat is None else self._heartbeat.clock()

    def enter_stage(self, name: str) -> None:
        """Say what this process is at, for whoever asks why it does not answer."""
        if self._heartbeat is not None:
            self._heartbeat.enter_stage(name)

    def share_done(self) -> None:
        """The rest of what this process is at is waiting for others."""
        if self._heartbeat is not None:
            self._heartbeat.share_done()

    def expect_lockstep(self) -> None:
        """Every step of an update waits for all from now on."""
        if self._heartbeat is not None:
            self._heartbeat.expect_lockstep()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Whoever waits for others is not the one that hangs."""
        if self._heartbeat is None:
            yield
        else:
            with self._heartbeat.waiting():
                yield


SINGLE_PROCESS = World()
"""One process."""


@contextlib.contextmanager
def joined(device: str = "auto") -> Iterator[tuple[World, str]]:
    """This process among those that torchrun started with it, and its device; alone without torchrun.

    A process that fails ends all others; one that is killed, or hangs, is named by one of them. Of an error
    that all have, as a mistake in a recipe, one message is shown.

    Args:
        device: "auto", "cpu" or "cuda"; each process takes the GPU of its number on its machine

    Raises:
        UserError: the number of a GPU is given, or there are fewer GPUs than processes
    """
    if os.environ.get("WORLD_SIZE", "1") == "1" or "RANK" not in os.environ:
        yield SINGLE_PROCESS, device
        return
    try:
        store, rank, size = next(iter(rendezvous("env://", timeout=timedelta(minutes=10))))
    except (ValueError, RuntimeError) as error:
        raise UserError(
            "RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT do not lead to the other processes "
            f"({str(error).partition(chr(10))[0]}); let torchrun set them, or seqx run --devices"
        ) from None
    mailbox = Mailbox.of_this_launch(store, rank, size)
    heartbeat = Heartbeat(mailbox)
    heartbeat.start()
    world = World(rank, size, heartbeat=heartbeat)
    try:
        own = _device(device)
        gloo = own.type == "cpu"
        dist.init_process_group(
            "gloo" if gloo else "cpu:gloo,cuda:nccl",
            store=PrefixStore(f"group/{mailbox.launch}", store),
            rank=rank,
            world_size=size,
            timeout=PATIENCE,
        )
        if not gloo:
            torch.cuda.set_device(own)
            world = World(
                rank, size, heartbeat=heartbeat, group=dist.new_group(backend="gloo", timeout=PATIENCE)
            )
        yield world, str(own)
        world.barrier()
    except BaseException as error:
        heartbeat.failed(error, contact=is_lost_contact(error))
        raise
    heartbeat.stop()
    dist.destroy_process_group()
    if world.is_rank_zero:  # the others may still read from the store that it holds
        time.sleep(0.1)


def _device(name: str) -> torch.device:
    """The device of this process: "auto" and "cuda" mean the GPU of its number on this machine."""
    if name == "cpu":
        return torch.device("cpu")
    local, here = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if name == "auto" and not here:
        return torch.device("cpu")
    if name not in ("auto", "cuda"):
        raise UserError(
            f"device {name!r}: with several processes write auto, cpu or cuda; each takes its own"
        )
    if local >= here:
        raise UserError(
            f"process {local + 1} of this machine has no GPU: there are {here}; start as many processes as "
            "there are GPUs, or write --device cpu"
        )
    return torch.device("cuda", local)
