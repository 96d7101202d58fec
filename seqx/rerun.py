"""Scripts that cannot be run again, as Python does in each process that it starts afresh.

Such a process imports the main script first, under another name than `__main__`. A script that does its work
outside of `if __name__ == "__main__":` would begin the same work again there, and wait for its own parent.
"""

import multiprocessing
import os
import sys
from multiprocessing.context import BaseContext
from pathlib import Path

from seqx.errors import UserError

_NAME = "seqx-rerun"
_BEGAN_AGAIN = 71  # exit code: the script came to work that its parent is at
_PATIENCE = 120.0  # seconds

_MEND = (
    'put what it does, all but imports and definitions, under `if __name__ == "__main__":`, and give the '
    "same command again"
)


def check(context: BaseContext) -> None:
    """See that processes can be started: one is, and runs the main script again.

    Raises:
        UserError: the script is in no file, fails, or begins the work anew that this process is at
    """
    script = _script()
    if script is not None and not Path(script).exists():
        raise UserError(
            f"{script}: several processes prepare examples, and each imports the main script, which is in no "
            "file; save it in a file, and run that"
        )
    process = context.Process(target=_nothing, name=_NAME, daemon=True)  # type: ignore[attr-defined]  # typeshed has it in subclasses only
    try:
        process.start()
        process.join(_PATIENCE)
        code = process.exitcode
    finally:
        if process.is_alive():
            process.kill()
            process.join()
    if code == 0:
        return
    begins = f"{script or sys.argv[0]}: several processes prepare examples, and each imports the main script"
    if code == _BEGAN_AGAIN:
        raise UserError(f"{begins}, which would begin to prepare them again; {_MEND}")
    if code is None:
        raise UserError(f"{begins}, which did not end within {_PATIENCE:.0f} s there; {_MEND}")
    raise UserError(f"{begins}, which failed there (exit code {code}, its error is above); {_MEND}")


def refuse() -> None:
    """End this process if it runs the main script again for `check`: its parent tells of it.

    To be called by whoever is about to wait for what another process is making, or for its lock.
    """
    if multiprocessing.current_process().name == _NAME:
        os._exit(_BEGAN_AGAIN)


def _script() -> str | None:
    """The file that processes import as the main script, if it is one."""
    main = sys.modules["__main__"]
    return None if getattr(main, "__spec__", None) is not None else getattr(main, "__file__", None)


def _nothing() -> None:
    """What the process does once the script was imported."""
