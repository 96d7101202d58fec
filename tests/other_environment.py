"""Environments with some of the installed packages, and without seqx."""

import importlib.machinery
import importlib.util
import re
import sys
import sysconfig
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

from tests.forked import run


def run_with(packages: list[str], code: str, folder: Path, site: Path) -> str:
    """Run Python code in a folder, with these packages and those that they require; return its output.

    The code runs in a fork of this process, which need not import the packages again if this process has
    imported them. The packages are links to the installed ones, so that nothing is downloaded.

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
    script = site / "card.py"
    script.write_text(code, encoding="utf-8")
    result = run(sys.executable, script, before=lambda: _leave_only(site), cwd=folder)
    assert result.returncode == 0, result.stderr
    return result.stdout


def _leave_only(site: Path) -> None:
    """Let this process import only the standard library and the packages in a folder."""
    kept = {*sys.stdlib_module_names, *(path.name.partition(".")[0] for path in site.iterdir()), "__main__"}
    for name in [name for name in sys.modules if name.partition(".")[0] not in kept]:
        del sys.modules[name]
    standard = sysconfig.get_path("stdlib")
    sys.path[:] = [
        str(site),
        *(path for path in sys.path if path.startswith(standard) and not path.endswith("-packages")),
    ]
    sys.meta_path[:] = [
        importlib.machinery.BuiltinImporter,
        importlib.machinery.FrozenImporter,
        importlib.machinery.PathFinder,
    ]
    assert importlib.util.find_spec("seqx") is None


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
