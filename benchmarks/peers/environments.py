"""Virtual environments of the compared toolkits, with pinned versions and PyTorch for CPUs.

`locks/NAME.txt` pins every package of an environment, so nothing is resolved: pip installs exactly these
packages, and no package for GPUs. PyTorch's version ends with "+cpu", which PyPI does not have: set
PIP_FIND_LINKS to a folder with its wheel, or PIP_EXTRA_INDEX_URL to PyTorch's index for CPUs.
"""

import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LOCKS = Path(__file__).parent / "locks"
_MARKER = "lock.sha256"


@dataclass(frozen=True)
class Toolkit:
    """A compared toolkit.

    Args:
        name: the module in `adapters` that runs it
        trains: it can train
        decodes: it can decode a trained model of seqx
        note: a remark for the record, such as a deviation from what its authors released
    """

    name: str
    trains: bool = True
    decodes: bool = False
    note: str | None = None

    @property
    def adapter(self) -> str:
        """The full name of the module."""
        return f"benchmarks.peers.adapters.{self.name}"


TOOLKITS: Mapping[str, Toolkit] = {
    "huggingface": Toolkit("huggingface", decodes=True),
    "ctranslate2": Toolkit("ctranslate2_adapter", trains=False, decodes=True),
    "opennmt": Toolkit("opennmt", note="its requirement torch<2.3 was ignored"),
    "eole": Toolkit("eole_adapter"),
    "joeynmt": Toolkit("joeynmt_adapter"),
    "fairseq": Toolkit("fairseq_adapter", note="fairseq-fixed: fairseq 0.12.2 needs Python 3.10"),
}


def default_folder() -> Path:
    """Return the folder of the environments: that of SEQX_PEERS, or one in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("SEQX_PEERS") or cache / "seqx" / "peers")


def python(folder: Path, name: str) -> Path:
    """Return the interpreter of a toolkit's environment."""
    return folder / name / "bin" / "python"


def script(folder: Path, name: str, command: str) -> str:
    """Return the path of a command of a toolkit."""
    return str(python(folder, name).parent / command)


def install(folder: Path, name: str) -> str | None:
    """Create an environment unless it is complete; return the reason if it cannot be installed."""
    lock = LOCKS / f"{name}.txt"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    marker = folder / name / _MARKER
    if marker.is_file() and marker.read_text(encoding="ascii") == digest:
        return None
    pip = [str(python(folder, name)), "-m", "pip", "install", "--quiet", "--no-deps"]
    steps = [
        [sys.executable, "-m", "venv", "--clear", str(folder / name)],
        [*pip, "--requirement", str(lock)],
    ]
    for step in steps:
        if reason := _failure(step, lock):
            return reason
    marker.write_text(digest, encoding="ascii")
    return None


def _failure(command: Sequence[str], lock: Path) -> str | None:
    """Run a command; return the end of its error messages if it fails.

    The lock is a constraint, too: it also applies to the packages with which other packages are built.
    """
    variables = {**os.environ, "PIP_CONSTRAINT": str(lock)}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    errors = [line for line in done.stderr.splitlines() if "ERROR" in line] or done.stderr.splitlines()
    return "; ".join(errors[-2:])[-500:] or f"exit code {done.returncode}" if done.returncode else None
