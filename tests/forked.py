"""Commands in forks of the test's process: real processes, without the seconds to import torch."""

import contextlib
import gc
import importlib
import inspect
import io
import logging
import multiprocessing.forkserver
import multiprocessing.resource_tracker
import os
import signal
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

from seqx.cli import main
from seqx.parallel import launch


class Forked(subprocess.Popen[Any]):
    """A process that does what `python -m seqx ARGUMENTS` does, as a fork of this process.

    It has its own streams, signals, environment and exit code. The processes that it starts for `--devices`
    are forks as well.

    Args:
        args: the arguments, which `python -m seqx` may precede
        before: what the fork calls first
        options: as for `subprocess.Popen`
    """

    def __init__(self, args: list[Any], before: Callable[[], None] = lambda: None, **options: Any) -> None:
        self._before = before
        super().__init__(args, **options)

    def _execute_child(self, args: list[Any], *given: Any) -> None:
        """Do what a real Popen does here, but fork without exec."""
        signature = inspect.signature(subprocess.Popen._execute_child)  # type: ignore[attr-defined]
        named = signature.bind(self, args, *given).arguments
        pipes = [named[n] for n in ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")]
        arguments = [str(argument) for argument in args]
        if arguments[:3] == [sys.executable, "-m", "seqx"]:
            arguments = arguments[3:]
        importlib.import_module("torch._dynamo")  # optimizers import it: here once, and not in each fork
        self.pid = os.fork()
        if self.pid == 0:
            _become(arguments, self._before, named)
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]


def run(*arguments: str | Path, timeout: float = 240, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    with Forked(
        [*arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    ) as process:
        try:
            output, errors = process.communicate(timeout=timeout)
        finally:
            process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def _become(arguments: list[str], before: Callable[[], None], named: Mapping[str, Any]) -> NoReturn:
    """Be the command; this function ends with the process."""
    code = 1
    try:
        gc.freeze()  # the garbage of the parent may wait for threads that a fork does not have
        _take_streams(named["p2cread"], named["c2pwrite"], named["errwrite"])
        _forget_parent()
        if named["start_new_session"]:
            os.setsid()
        if named["env"] is not None:
            os.environ.clear()
            os.environ.update(named["env"])
        if named["cwd"] is not None:
            os.chdir(named["cwd"])
        sys.argv = ["seqx", *arguments]
        vars(launch)["subprocess"] = SimpleNamespace(Popen=Forked)
        before()
        main(arguments, prog_name="seqx")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001  as the interpreter prints it
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # nobody reads it, or it is closed
                stream.flush()
        os._exit(code)


def _take_streams(*pipes: int) -> None:
    """Let the standard streams be the pipes, and close everything else that the parent has open.

    /dev/null takes the numbers of the files: an object that closes its file later then closes no other one.
    """
    for number, pipe in enumerate(pipes):
        if pipe != -1:
            os.dup2(pipe, number)
    nothing = os.open(os.devnull, os.O_RDWR)
    for name in [file.name for file in Path("/proc/self/fd").iterdir()]:
        if int(name) > 2 and int(name) != nothing and Path("/proc/self/fd", name).exists():
            os.dup2(nothing, int(name), inheritable=False)
    sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), "utf-8")
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w", closefd=False)), "utf-8")
    sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(io.FileIO(2, "w", closefd=False)), "utf-8", "backslashreplace", line_buffering=True
    )


def _forget_parent() -> None:
    """Set signals, the log and warnings as a new interpreter does, and forget the children of the parent."""
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    logging.root.handlers.clear()
    logging.root.setLevel(logging.WARNING)
    warnings.resetwarnings()
    warnings.simplefilter("ignore", DeprecationWarning)
    warnings.showwarning = _print_warning
    multiprocessing.forkserver._forkserver.__init__()  # type: ignore[misc]
    multiprocessing.resource_tracker._resource_tracker.__init__()  # type: ignore[misc]


def _print_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: object, **__: object
) -> None:
    sys.stderr.write(warnings.formatwarning(message, category, filename, lineno))
