"""Starting several processes of seqx on this machine, as torchrun does."""

import logging
import os
import signal
import sys
from collections.abc import Sequence

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

GRACE = 25
"""Seconds in which processes that were told to stop can save what they have."""


def launch(arguments: Sequence[str], processes: int) -> tuple[int, str | None]:
    """Run `seqx ARGUMENTS` in several processes that know of each other; waits for them.

    Returns:
        the exit code, that of the first process that failed, and how it was killed, if nobody could tell
    """
    # The processes tell their errors themselves, once; the launcher's words would come after each of them.
    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    logging.getLogger("torch.distributed.elastic.agent.server.api").setLevel(logging.CRITICAL)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=f"seqx-{os.getpid()}",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
        monitor_interval=0.2,
        shutdown_timeout=GRACE,
        signals_to_handle="SIGTERM,SIGINT,SIGUSR1,SIGUSR2",
    )
    try:
        elastic_launch(config, sys.executable)("-m", "seqx", *arguments)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode >= 0:
            return failure.exitcode, None
        name = signal.Signals(-failure.exitcode).name
        why = " (perhaps for want of memory)" if name == "SIGKILL" else ""
        return 128 - failure.exitcode, f"process {rank} (pid {failure.pid}) was killed by {name}{why}"
    except SignalException:  # handed on to the processes, which saved
        return os.EX_TEMPFAIL, None
    return 0, None
