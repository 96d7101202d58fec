"""Start the processes of a run on this machine, as torchrun does."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

from torch._C._distributed_c10d import TCPStore  # torch.distributed exports it without types

from seqx.errors import OomRestartError
from seqx.parallel.mailbox import Mailbox, Verdict
from seqx.runtime.cpu_threads import cpus

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
"""The signals that are passed on to all processes."""

EXIT_S = 6.0
"""Seconds that the other processes have to exit by themselves after one process has failed."""

TERMINATE_S = 25.0
"""Seconds that a process has to exit after SIGTERM, before it gets SIGKILL."""

_POLL_S = 0.1


def launch(arguments: Sequence[str], processes: int) -> tuple[int, str | None]:
    """Run `seqx ARGUMENTS` in several processes that form one run, and wait for them.

    The processes get torchrun's environment variables, and every signal. (torchrun itself passes on only the
    first signal, and hides exit codes after it.) After an out-of-memory error all processes are started
    again, as with torchrun's `--max-restarts`; they read the microbatch size that did not fit from the run
    folder.

    Returns:
        the exit code of the first process that failed, and a message if a signal killed it
    """
    started: list[subprocess.Popen[bytes]] = []
    with _forwarding_signals(started) as received:
        while True:
            first = _run_once(arguments, processes, started, received)
            if first is None or received or started[first].returncode != OomRestartError.code:
                break
    if first is None:
        return (os.EX_TEMPFAIL if any(process.returncode for process in started) else 0), None
    verdict = _verdict(first, started[first])
    return verdict.code, verdict.message


def _run_once(
    arguments: Sequence[str],
    processes: int,
    started: list[subprocess.Popen[bytes]],
    received: Sequence[signal.Signals],
) -> int | None:
    """Start all processes, put them into `started` and wait; return the rank that failed first, if any."""
    # This process holds the store, so that the store outlives a rank that dies.
    store = TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    common = {
        **os.environ,
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(store.port),
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "GROUP_RANK": "0",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": "0",
    }
    # All processes together use as many threads as there are CPUs; more would compete for them.
    common.setdefault("OMP_NUM_THREADS", str(max(1, cpus() // processes)))
    started.clear()
    for rank in range(processes):
        num_received = len(received)
        process = subprocess.Popen(  # noqa: S603  seqx itself
            [sys.executable, "-m", "seqx", *arguments],
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            start_new_session=True,  # otherwise Ctrl-C in a terminal would reach them twice
        )
        started.append(process)
        for number in received[:num_received]:
            process.send_signal(number)
    first = _first_failure(started, received)
    if first is not None and started[first].returncode < 0:  # by a signal, which the others cannot know
        Mailbox(store, first, processes).claim(_verdict(first, started[first]))
    _terminate(started)
    return first


def _verdict(rank: int, process: subprocess.Popen[bytes]) -> Verdict:
    """Return the exit code of a run in which a rank failed, and a message if a signal killed that rank."""
    code = process.returncode
    if code >= 0:
        return Verdict(rank, code, None)
    name = signal.Signals(-code).name
    note = " (perhaps because the machine ran out of memory)" if name == "SIGKILL" else ""
    message = f"rank {rank} (pid {process.pid}) was killed by {name}{note}"
    return Verdict(rank, 128 - code, f"{message}; run the same command again to resume")


@contextlib.contextmanager
def _forwarding_signals(started: Sequence[subprocess.Popen[bytes]]) -> Iterator[list[signal.Signals]]:
    """Pass signals on to all processes in the block, except those that this process ignores.

    Yields the list of received signals, in order.
    """
    received: list[signal.Signals] = []

    def forward(number: int, _: object) -> None:
        received.append(signal.Signals(number))
        for process in started:
            process.send_signal(number)

    handled = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, forward) for number in handled}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _first_failure(
    started: Sequence[subprocess.Popen[bytes]], received: Sequence[signal.Signals]
) -> int | None:
    """Wait until a process has failed or all have ended; return the rank that failed.

    A process that a forwarded signal has stopped did not fail.
    """
    while True:
        codes = [process.poll() for process in started]
        for rank, code in enumerate(codes):
            is_fine = code in (None, 0, os.EX_TEMPFAIL) or -(code or 0) in received
            if not is_fine:
                return rank
        if None not in codes:
            return None
        time.sleep(_POLL_S)


def _terminate(started: Sequence[subprocess.Popen[bytes]]) -> None:
    """Wait for all processes to exit; then send SIGTERM, then SIGKILL."""
    for seconds, number in ((EXIT_S, signal.SIGTERM), (TERMINATE_S, signal.SIGKILL)):
        # Count polls instead of seconds, so that a pause of all processes does not shorten the wait.
        for _ in range(round(seconds / _POLL_S)):
            if all(process.poll() is not None for process in started):
                break
            time.sleep(_POLL_S)
        for process in started:
            if process.poll() is None:
                process.send_signal(number)
    for process in started:
        process.wait()
