"""Several processes on this machine that know of each other as those of torchrun do."""

import contextlib
import gc
import logging
import multiprocessing
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch._dynamo  # noqa: F401  optimizers need it: imported once here, and not by each process
from torch._C._distributed_c10d import TCPStore

from seqx.errors import UserError
from seqx.parallel import World, join_ranks

Job = Callable[[World], Any]


@dataclass(frozen=True)
class Left:
    """The end of a process."""

    code: int
    said: str  # on standard error
    answer: Any = None  # what its job returned


def crew(size: int, job: Job, folder: Path, *, patience: float = 90, agent: bool = False) -> list[Left]:
    """Run a job in `size` processes that form one world; kill those that exceed `patience`.

    Args:
        size: the number of processes
        job: the function that each process calls
        folder: for the output of the processes
        patience: in seconds
        agent: keep the store in a process of its own, as torchrun's agent does
    """
    context = multiprocessing.get_context("fork")  # what is imported is imported once
    port = _free()
    # Not by this process: its thread may hold a lock of the C library when the next one is forked.
    holder = context.Process(target=_hold, args=(port,), daemon=True) if agent else None
    if holder is not None:
        holder.start()
        _await(port)
    pipes = [context.Pipe(duplex=False) for _ in range(size)]
    processes = [
        context.Process(target=_do, args=(rank, size, port, agent, job, folder, pipes[rank][1]))
        for rank in range(size)
    ]
    for process in processes:
        process.start()
    end = time.monotonic() + patience
    try:
        for process in processes:
            process.join(max(0.0, end - time.monotonic()))
            assert process.exitcode is not None, "a process does not leave"
    finally:
        for process in [holder, *processes] if holder else processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid or 0, signal.SIGKILL)
            process.join()
    return [
        Left(
            process.exitcode or 0,
            (folder / f"stderr.{rank}").read_text(encoding="utf-8"),
            pipes[rank][0].recv() if pipes[rank][0].poll() else None,
        )
        for rank, process in enumerate(processes)
    ]


def _hold(port: int) -> None:
    """Be the store until this process is killed."""
    held = TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False)
    while held:
        time.sleep(60)


def _await(port: int) -> None:
    """Wait until somebody listens."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise AssertionError("nobody holds the store")


def _do(rank: int, size: int, port: int, agent: bool, job: Job, folder: Path, answer: Any) -> None:
    gc.freeze()  # what is garbage of the process that forked may wait for threads that are not here
    file = (folder / f"stderr.{rank}").open("w", encoding="utf-8")
    os.dup2(file.fileno(), 2)
    sys.stderr = file
    logging.getLogger().handlers = []  # the log goes where it goes without pytest
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_RANK": str(rank),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    if agent:
        os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "True"
    with _told(), join_ranks("cpu") as (world, _):
        answer.send(job(world))
    sys.stderr.flush()
    os._exit(0)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Errors as the command line tells them."""
    try:
        yield
    except UserError as error:
        click.echo(str(error), file=sys.stderr)
        sys.stderr.flush()
        os._exit(error.code)
    except Exception:  # noqa: BLE001
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


def _free() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
