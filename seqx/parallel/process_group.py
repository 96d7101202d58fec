"""The ranks of a run, as torchrun starts them, and collective calls between them.

These calls use the CPU (gloo), so that the host does not wait for a GPU. Torch's DDP and FSDP
exchange gradients themselves.
"""

import contextlib
import io
import os
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import PrefixStore  # torch.distributed exports it without types
from torch.distributed.rendezvous import rendezvous

from seqx.errors import UserError
from seqx.parallel.heartbeat import Heartbeat, is_lost_contact
from seqx.parallel.mailbox import Mailbox
from seqx.runtime.devices import device_of

T = TypeVar("T")

COLLECTIVE_TIMEOUT = timedelta(days=30)
"""Ranks may wait for hours until rank 0 has prepared data or saved. `Heartbeat` finds dead ranks."""


class World:
    """The ranks that train or decode together, each with one device, as this process sees them.

    All ranks must make the collective calls in the same order. With a single process they return at once.

    Args:
        rank: the rank of this process, from 0
        size: the number of ranks
        heartbeat: the heartbeat of this rank; None: there is a single process
        group: the process group of collective calls
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
        """True for the process that writes files and informs callbacks."""
        return self.rank == 0

    @contextlib.contextmanager
    def rank_zero_first(self) -> Iterator[None]:
        """Run the block on rank 0 while the other ranks wait, then on them (collective)."""
        if not self.is_rank_zero:
            self.barrier()
        yield
        if self.is_rank_zero:
            self.barrier()

    def barrier(self) -> None:
        """Wait until all ranks have made this call (collective)."""
        self.all_gather_ints([])

    def broadcast(self, value: T) -> T:
        """Return the value of rank 0 on all ranks (collective)."""
        if self.size == 1:
            return value
        values = [value]
        with self.waiting():
            dist.broadcast_object_list(values, src=0, group=self._group)
        return values[0]

    def all_gather(self, value: T) -> list[T]:
        """Return the values of all ranks, in their order (collective)."""
        if self.size == 1:
            return [value]
        values: list[T] = [value] * self.size
        with self.waiting():
            dist.all_gather_object(values, value, group=self._group)
        return values

    def gather(self, state: Any) -> list[Any]:
        """Return the states of all ranks, with tensors on the CPU, on rank 0; others get [] (collective).

        States are nests of tensors, numbers and strings, as those of `state_dict`.
        """
        if self.size == 1:
            return [state]
        file = io.BytesIO()
        torch.save(state, file)
        files = [b""] * self.size if self.is_rank_zero else None
        with self.waiting():
            dist.gather_object(file.getvalue(), files, dst=0, group=self._group)
        return [torch.load(io.BytesIO(each), map_location="cpu", weights_only=True) for each in files or ()]

    def all_gather_ints(self, numbers: Sequence[int]) -> list[list[int]]:
        """Return the integers of all ranks, in their order; all ranks pass the same number (collective)."""
        if self.size == 1:
            return [list(numbers)]
        own = torch.tensor([0, *numbers], dtype=torch.int64)
        rows = [torch.empty_like(own) for _ in range(self.size)]
        with self.waiting():
            dist.all_gather(rows, own, group=self._group)
        return [row.tolist()[1:] for row in rows]

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """Add up a tensor over all ranks in place; the host does not wait for a GPU (collective)."""
        if self.size > 1:
            with self.waiting():
                dist.all_reduce(tensor)
        return tensor

    def report_end_to(self, report: Callable[[BaseException], None]) -> None:
        """Add a function to call with the reason if this process ends because another rank failed or is dead.

        The functions are called in the order in which they were added.
        """
        if self._heartbeat is not None:
            self._heartbeat.report_end_to(report)

    def record_end(self, error: BaseException) -> None:
        """Record that this rank ends with an error, and reports its end to callbacks and plugins next.

        If the error only says that a rank does not answer, wait until it is known which rank is dead. Then
        this process ends, and the call does not return.
        """
        if self._heartbeat is not None:
            if is_lost_contact(error):
                self._heartbeat.await_verdict()
            self._heartbeat.record_end(error)

    def clock(self) -> float:
        """Return monotonic seconds; with several ranks, pauses of this process are not counted."""
        return time.monotonic() if self._heartbeat is None else self._heartbeat.clock()

    def enter_stage(self, name: str) -> None:
        """Record what this rank does from now on, for messages about dead and hanging ranks."""
        if self._heartbeat is not None:
            self._heartbeat.enter_stage(name)

    def part_done(self) -> None:
        """Record that this rank has done its part of the stage, and only waits for others."""
        if self._heartbeat is not None:
            self._heartbeat.part_done()

    def expect_lockstep(self) -> None:
        """Record that in every pass of an update, each rank waits for all others (FSDP)."""
        if self._heartbeat is not None:
            self._heartbeat.expect_lockstep()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Record that this rank waits for others in the block, and does not hang."""
        if self._heartbeat is None:
            yield
        else:
            with self._heartbeat.waiting():
                yield


SINGLE_PROCESS = World()
"""The process group of a run with one process."""


@contextlib.contextmanager
def join_ranks(device: str = "auto") -> Iterator[tuple[World, str]]:
    """Join the ranks that torchrun started; yield them and the device of this process.

    Without torchrun there is a single process. If a rank fails, all others end. If a rank is killed or hangs,
    another rank prints a message about it. If all ranks fail with the same error, it is shown once.

    Args:
        device: "auto", "cpu" or "cuda"; each process takes the GPU with its local rank

    Raises:
        UserError: `device` names a single GPU, or this machine has fewer GPUs than processes
    """
    if os.environ.get("WORLD_SIZE", "1") == "1" or "RANK" not in os.environ:
        yield SINGLE_PROCESS, device
        return
    try:
        store, rank, size = next(iter(rendezvous("env://", timeout=timedelta(minutes=10))))
    except (ValueError, RuntimeError) as error:
        raise UserError(
            "RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT (environment variables): they do not lead to the "
            f"other ranks ({str(error).partition(chr(10))[0]}); start the run with torchrun or "
            "seqx run --devices, which set them"
        ) from None
    mailbox = Mailbox.of_this_launch(store, rank, size)
    heartbeat = Heartbeat(mailbox)
    heartbeat.start()
    world = World(rank, size, heartbeat=heartbeat)
    try:
        own_device = device_of(str(_device(device)))
        is_cpu = own_device.type == "cpu"
        dist.init_process_group(
            "gloo" if is_cpu else "cpu:gloo,cuda:nccl",
            store=PrefixStore(f"group/{mailbox.launch}", store),
            rank=rank,
            world_size=size,
            timeout=COLLECTIVE_TIMEOUT,
        )
        if not is_cpu:
            torch.cuda.set_device(own_device)
            world = World(
                rank,
                size,
                heartbeat=heartbeat,
                group=dist.new_group(backend="gloo", timeout=COLLECTIVE_TIMEOUT),
            )
        yield world, str(own_device)
        world.barrier()
    except BaseException as error:
        heartbeat.end_all_ranks(error, lost_contact=is_lost_contact(error))
        raise
    heartbeat.stop()
    dist.destroy_process_group()
    if world.is_rank_zero:  # rank 0 may hold the store, and other ranks may still read from it
        time.sleep(0.1)


def _device(name: str) -> torch.device:
    """Return the device of this process; "auto" and "cuda" mean the GPU with its local rank."""
    if name == "cpu":
        return torch.device("cpu")
    local, gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if name == "auto" and not gpus:
        return torch.device("cpu")
    if name not in ("auto", "cuda"):
        raise UserError(
            f"device {name!r}: with several processes each takes a GPU of its own; use auto, cpu or cuda"
        )
    if local >= gpus:
        raise UserError(
            f"device {name!r}: local rank {local} has no GPU, because this machine has only {gpus}; start "
            "as many processes as there are GPUs, or use the device cpu"
        )
    return torch.device("cuda", local)
