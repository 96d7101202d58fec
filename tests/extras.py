"""Packages that are not installed with every extra."""

from importlib.util import find_spec

import pytest


def skip_without(*modules: str) -> None:
    """Skip a file of tests if a module is not installed.

    The module is not imported, as `pytest.importorskip` would do, because each process of pytest-xdist reads
    all files of tests, and runs few of them.
    """
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}", allow_module_level=True)
