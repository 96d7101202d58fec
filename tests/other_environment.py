"""Environments with some of the installed packages, and without seqx."""

import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement


def run_with(packages: list[str], code: str, folder: Path, site: Path) -> str:
    """Run Python code in a folder, with these packages and those that they require; return its output.

    The packages are links to the installed ones, so that nothing is downloaded.

    Args:
        packages: names of distributions
        code: the code
        folder: the working folder
        site: an empty folder for the links
    """
    for name in _closure(packages):
        found = distribution(name)
        for top in {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
            target = Path(str(found.locate_file(top)))
            if not (site / top).exists():
                (site / top).symlink_to(target)
    environment = {"PYTHONPATH": str(site), "PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}
    python = Path(sys.base_prefix, "bin", f"python{sys.version_info.major}")
    missing = "import importlib.util\nassert importlib.util.find_spec('seqx') is None\n"
    result = subprocess.run(
        [python, "-s", "-c", missing + code],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def _closure(packages: list[str]) -> set[str]:
    """Return the packages and the installed packages that they require."""
    found: set[str] = set()
    waiting = [*packages]
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        try:
            required = distribution(name).requires or []
        except PackageNotFoundError:  # for another platform
            continue
        found.add(name)
        waiting += [
            each.name
            for each in map(Requirement, required)
            if not (each.marker and "extra" in str(each.marker))
        ]
    return found
