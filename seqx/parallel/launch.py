"""Starting several processes of seqx on this machine, in the way of torchrun."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

from torch._C._distributed_c10d import TCPStore  # public in torch.distributed but for its types

from seqx.errors import OomRestartError
from seqx.runtime.cpu_threads import cpus

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
"""Handed on to the processes, which know what each of them means."""

FAREWELL = 6.0
"""Seconds in which processes leave by themselves when one has failed."""

GRACE = 25.0
"""Seconds that they have then, once they were told to."""

_POLL = 0.1


def launch(arguments: Sequence[str], processes: int) -> tuple[int, str | None]:
    """Run `seqx ARGUMENTS` in several processes that know of each other; waits for them.

    Their environment is torchrun's. Each signal goes to all of them, also a second one. torchrun itself would
    hide how they ended after a signal, and hand on the first only. Where one had too little memory, all are
    started again, as with torchrun's `--max-restarts`; they know what was too large.

    Returns:
        the exit code, that of the first process that failed, and how it was killed, if nobody could tell
    """
    started: list[subprocess.Popen[bytes]] = []
    with _handing_on(started) as asked:
        while True:
            first = _run_through(arguments, processes, started, asked)
            if first is None or asked or started[first].returncode != OomRestartError.code:
                break
    if first is None:
        return (os.EX_TEMPFAIL if any(process.returncode for process in started) else 0), None
    code = started[first].returncode
    if code >= 0:
        return code, None
    name = signal.Signals(-code).name
    why = " (perhaps for want of memory)" if name == "SIGKILL" else ""
    return 128 - code, f"process {first} (pid {started[first].pid}) was killed by {name}{why}"


def _run_through(
    arguments: Sequence[str],
    processes: int,
    started: list[subprocess.Popen[bytes]],
    asked: Sequence[signal.Signals],
) -> int | None:
    """Start all, into the list, and wait for them; which one failed first."""
    # Whoever fails first would take the store along, if it were in one of the processes.
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
    # All processes together use as many threads as CPUs; more would wait for each other.
    common.setdefault("OMP_NUM_THREADS", str(max(1, cpus() // processes)))
    started.clear()
    for rank in range(processes):
        said = len(asked)
        process = subprocess.Popen(  # noqa: S603  seqx itself
            [sys.executable, "-m", "seqx", *arguments],
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            start_new_session=True,  # Ctrl-C in a terminal would come twice
        )
        started.append(process)
        for number in asked[:said]:
            process.send_signal(number)
    first = _first_that_failed(started, asked)
    _end(started)
    return first


@contextlib.contextmanager
def _handing_on(started: Sequence[subprocess.Popen[bytes]]) -> Iterator[list[signal.Signals]]:
    """In the block signals go to all processes, but those that this one was started to be deaf to.

    Which came, in order.
    """
    asked: list[signal.Signals] = []

    def hand_on(number: int, _: object) -> None:
        asked.append(signal.Signals(number))
        for process in started:
            process.send_signal(number)

    heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, hand_on) for number in heard}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _first_that_failed(
    started: Sequence[subprocess.Popen[bytes]], asked: Sequence[signal.Signals]
) -> int | None:
    """Wait until one failed, or all ended; one that stopped because it was asked to did not fail."""
    while True:
        codes = [process.poll() for process in started]
        for rank, code in enumerate(codes):
            well = code in (None, 0, os.EX_TEMPFAIL) or -(code or 0) in asked
            if not well:
                return rank
        if None not in codes:
            return None
        time.sleep(_POLL)


def _end(started: Sequence[subprocess.Popen[bytes]]) -> None:
    """Wait for all; those that do not leave are told to, which they may know already, and then ended."""
    for seconds, number in ((FAREWELL, signal.SIGTERM), (GRACE, signal.SIGKILL)):
        for _ in range(
            round(seconds / _POLL)
        ):  # count polls, so that a pause of all processes does not shorten the wait
            if all(process.poll() is not None for process in started):
                break
            time.sleep(_POLL)
        for process in started:
            if process.poll() is None:
                process.send_signal(number)
    for process in started:
        process.wait()
