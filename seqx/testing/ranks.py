"""Run a function on several ranks: processes of this machine with the environment of torchrun."""

import contextlib
import gc
import importlib
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
import torch
from torch._C._distributed_c10d import TCPStore

from seqx.errors import UserError
from seqx.parallel import World, join_ranks
from seqx.plugin.loading import load_plugins

RankFunction = Callable[[World], Any]


@dataclass(frozen=True)
class RankExit:
    """The exit code, the output and the result of one rank."""

    code: int
    stderr: str
    result: Any = None  # the value that its function returned


def run_on_ranks(
    size: int, function: RankFunction, folder: Path, *, timeout: float = 90, separate_store: bool = False
) -> list[RankExit]:
    """Call a function on each rank of a process group; return the exit of each rank.

    Args:
        size: the number of ranks
        function: the function that each rank calls
        folder: the folder for the output of the processes
        timeout: seconds after which the processes are killed
        separate_store: keep the store in a process of its own, as torchrun does, and not on rank 0
    """
    load_plugins()  # import the plugins and torch._dynamo; otherwise each rank imports them
    importlib.import_module("torch._dynamo")
    context = multiprocessing.get_context("fork")  # so that modules are imported only once
    port = _free_port()
    # Not in this process: a thread of the store may hold a lock of the C library while a rank is forked.
    store_process = context.Process(target=_hold_store, args=(port,), daemon=True) if separate_store else None
    if store_process is not None:
        store_process.start()
        _await_listener(port)
    pipes = [context.Pipe(duplex=False) for _ in range(size)]
    processes = [
        context.Process(
            target=_run_rank, args=(rank, size, port, separate_store, function, folder, pipes[rank][1])
        )
        for rank in range(size)
    ]
    for process in processes:
        process.start()
    end = time.monotonic() + timeout
    try:
        for process in processes:
            process.join(max(0.0, end - time.monotonic()))
            assert process.exitcode is not None, f"a rank did not exit within {timeout} s"
    finally:
        for process in [store_process, *processes] if store_process else processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid or 0, signal.SIGKILL)
            process.join()
    return [
        RankExit(
            process.exitcode or 0,
            (folder / f"stderr.{rank}").read_text(encoding="utf-8"),
            pipes[rank][0].recv() if pipes[rank][0].poll() else None,
        )
        for rank, process in enumerate(processes)
    ]


def _hold_store(port: int) -> None:
    """Hold the store until this process is killed."""
    store = TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False)
    while store:
        time.sleep(60)


def _await_listener(port: int) -> None:
    """Wait until a process listens on the port."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise AssertionError("the process with the store does not listen")


def _run_rank(
    rank: int,
    size: int,
    port: int,
    separate_store: bool,
    function: RankFunction,
    folder: Path,
    result_pipe: Any,
) -> None:
    """Join the process group, and send the result of the function through the pipe."""
    torch.set_num_threads(1)  # the threads of the parent do not exist here
    gc.freeze()  # objects of the parent may wait, when collected, for threads that do not exist here
    file = (folder / f"stderr.{rank}").open("w", encoding="utf-8")
    os.dup2(file.fileno(), 2)
    sys.stderr = file
    logging.getLogger().handlers = []  # the handlers of pytest
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_RANK": str(rank),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    if separate_store:
        os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "True"
    with _printed_errors(), join_ranks("cpu") as (world, _):
        result_pipe.send(function(world))
    sys.stderr.flush()
    os._exit(0)


@contextlib.contextmanager
def _printed_errors() -> Iterator[None]:
    """Print an error and exit as the command line does."""
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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
