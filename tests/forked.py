"""Commands in forks of the test process, which need no time to import torch."""

import contextlib
import gc
import importlib
import inspect
import io
import logging
import multiprocessing.forkserver
import multiprocessing.resource_tracker
import multiprocessing.util
import os
import runpy
import signal
import subprocess
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from seqx.cli import main
from seqx.plugin.loading import load_plugins

PYTHON_MODULE = [sys.executable, "-m"]
Popen = subprocess.Popen  # forks replace the name in subprocess


@cache
def import_modules() -> None:
    """Import the plugins, and modules that they import later, so that no fork has to import them again."""
    load_plugins()
    for module in (
        "seqx.commands.run",
        "numpy.ctypeslib",
        "numpy.ma",
        "sacrebleu",
        "sentencepiece",
        "torch._dynamo",
        "torch.profiler._cupti_monitor",
        "torch.utils.serialization",
    ):
        importlib.import_module(module)


class Forked(Popen[Any]):
    """A fork of this process that runs `python -m seqx ...`, `python -m MODULE ...` or `python FILE.py ...`.

    It has its own streams, signals, environment and exit code. The processes of seqx that it starts, as for
    `--devices`, are forks as well.

    Args:
        args: arguments of seqx, or a command that begins with the path of this Python and a script, or with
            the path, `-m` and a module
        before: function that the fork calls first
        options: options of `subprocess.Popen`
    """

    def __init__(self, args: list[Any], before: Callable[[], None] = lambda: None, **options: Any) -> None:
        self._before = before
        super().__init__(args, **options)

    def _execute_child(self, args: list[Any], *others: Any) -> None:
        """Fork without exec, in place of the method of `subprocess.Popen`."""
        signature = inspect.signature(Popen._execute_child)  # type: ignore[attr-defined]
        named = signature.bind(self, args, *others).arguments
        pipes = [named[n] for n in ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")]
        command = [str(argument) for argument in args]
        if command[0] != sys.executable:
            command = [*PYTHON_MODULE, "seqx", *command]
        target = 2 if command[:2] == PYTHON_MODULE else 1
        import_modules()
        self.pid = os.fork()
        if self.pid == 0:
            _run_command(command[target], command[target + 1 :], self._before, named)
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]


class ForkedIfSeqx(Forked):
    """A fork for a command of seqx or of its benchmarks, a new program for any other command.

    It replaces `subprocess.Popen` in forks.
    """

    def _execute_child(self, args: Any, *others: Any) -> None:
        is_list = isinstance(args, (list, tuple))
        command = [item for item in args if item != "-u"] if is_list else []
        if command[:2] == PYTHON_MODULE and command[2].partition(".")[0] in ("seqx", "benchmarks"):
            super()._execute_child(command, *others)
        else:
            Popen._execute_child(self, args, *others)  # type: ignore[attr-defined]


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


def _run_command(
    module: str, arguments: list[str], before: Callable[[], None], named: Mapping[str, Any]
) -> NoReturn:
    """Run the module, or the script, in the forked process, and exit."""
    code = 1
    try:
        gc.freeze()  # finalizers of the parent's objects may wait for threads that a fork lacks
        _redirect_streams(named["p2cread"], named["c2pwrite"], named["errwrite"])
        _reset_process()
        if named["start_new_session"]:
            os.setsid()
        if named["env"] is not None:
            os.environ.clear()
            os.environ.update(named["env"])
        if named["cwd"] is not None:
            os.chdir(named["cwd"])
        sys.argv = [module, *arguments]
        vars(subprocess)["Popen"] = ForkedIfSeqx
        vars(multiprocessing.util)["spawnv_passfds"] = _fork_server
        before()
        if module == "seqx":
            main(arguments, prog_name="seqx")
        elif module.endswith(".py"):
            runpy.run_path(module, run_name="__main__")
        else:
            sys.modules.pop(module, None)  # otherwise runpy warns
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001  print it like the interpreter
        traceback.print_exc()
    finally:
        threading._shutdown()  # type: ignore[attr-defined]  # wait for threads, as the interpreter does
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(AttributeError, OSError, ValueError):  # it or its reader is closed
                stream.flush()
        os._exit(code)


def _redirect_streams(*pipes: int) -> None:
    """Redirect the standard streams to the pipes, and close the other files of the parent.

    File descriptors are replaced by /dev/null, so that objects that close them later close no other file.
    """
    for number, pipe in enumerate(pipes):
        if pipe != -1:
            os.dup2(pipe, number)
    null = os.open(os.devnull, os.O_RDWR)
    for name in [file.name for file in Path("/proc/self/fd").iterdir()]:
        if int(name) > 2 and int(name) != null and Path("/proc/self/fd", name).exists():
            os.dup2(null, int(name), inheritable=False)
    sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), "utf-8")
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w", closefd=False)), "utf-8")
    sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(io.FileIO(2, "w", closefd=False)), "utf-8", "backslashreplace", line_buffering=True
    )


def _reset_process() -> None:
    """Reset signals, logging, warnings and child processes to the state of a new interpreter."""
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


def _fork_server(path: bytes, args: list[bytes | str], passed: Sequence[int]) -> int:
    """Fork a server of `multiprocessing` in place of `util.spawnv_passfds`, which starts a new Python."""
    pid = os.fork()
    if pid == 0:
        try:
            for name in [file.name for file in Path("/proc/self/fd").iterdir()]:
                if int(name) > 2 and int(name) not in passed:
                    with contextlib.suppress(OSError):  # the descriptor of this list
                        os.close(int(name))
            sys.modules["__main__"] = ModuleType("__main__")
            exec(args[-1])  # "from multiprocessing.forkserver import main; main(...)"
        finally:
            os._exit(0)
    return pid


def _print_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: object, **__: object
) -> None:
    sys.stderr.write(warnings.formatwarning(message, category, filename, lineno))
