"""Refuse main scripts that worker processes cannot import.

With the start method "spawn" or "forkserver", each worker first imports the main script under another name
than `__main__`. A script without `if __name__ == "__main__":` would then repeat its work in the worker, and
wait for its parent.
"""

import multiprocessing
import os
import sys
from multiprocessing.context import BaseContext
from pathlib import Path

from seqx.errors import UserError

_NAME = "seqx-rerun"
_EXIT_REPEATED = 71  # exit code of a worker that began the work of its parent
_TIMEOUT_SECONDS = 120.0

_ADVICE = (
    'put everything except imports and definitions under `if __name__ == "__main__":`, and run the same '
    "command again"
)


def check(context: BaseContext) -> None:
    """Start one worker as a trial, to check that it can import the main script.

    Raises:
        UserError: the script is not in a file, fails in the worker, or repeats the work of this process there
    """
    exit_if_trial_worker()
    script = _script()
    if script is not None and not Path(script).exists():
        raise UserError(
            f"{script}: several processes prepare examples, and each imports the main script, which is not "
            "in a file; save it in a file, and run that file"
        )
    process = context.Process(target=_do_nothing, name=_NAME, daemon=True)  # type: ignore[attr-defined]  # typeshed has it in subclasses only
    try:
        process.start()
        process.join(_TIMEOUT_SECONDS)
        code = process.exitcode
    finally:
        if process.is_alive():
            process.kill()
            process.join()
    if code == 0:
        return
    prefix = f"{script or sys.argv[0]}: several processes prepare examples, and each imports the main script"
    if code == _EXIT_REPEATED:
        raise UserError(f"{prefix}, which would prepare them again; {_ADVICE}")
    if code is None:
        raise UserError(f"{prefix}, which did not end within {_TIMEOUT_SECONDS:.0f} s there; {_ADVICE}")
    raise UserError(f"{prefix}, which failed there (exit code {code}, its error is above); {_ADVICE}")


def exit_if_trial_worker() -> None:
    """Exit if this process is the trial worker of `check`, whose parent then raises the error.

    Call this function before waiting for the result or the lock of another process.
    """
    if multiprocessing.current_process().name == _NAME:
        os._exit(_EXIT_REPEATED)


def _script() -> str | None:
    """Return the file that workers import as the main script; None if they import none."""
    main = sys.modules["__main__"]
    return None if getattr(main, "__spec__", None) is not None else getattr(main, "__file__", None)


def _do_nothing() -> None:
    """Do nothing: the import of the script is the trial."""
