"""Commit, machine and versions of a record."""

import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import seqx

ROOT = Path(__file__).parents[1]


def provenance() -> Mapping[str, Any]:
    """Return commit, machine and versions; the load is the average of the last 1, 5 and 15 minutes."""
    return {
        "commit": commit(),
        "machine": {
            "processor": _processor(),
            "instructions": instructions(),
            "cores": len(os.sched_getaffinity(0)),
            "load": [round(load, 2) for load in os.getloadavg()],
        },
        "python": platform.python_version(),
        "versions": {"seqx": seqx.__version__}
        | {name: version(name) for name in ("torch", "sentencepiece", "sacrebleu")},
    }


def write_record(record: Mapping[str, Any], file: Path | None) -> None:
    """Write a record as JSON, if a file is named."""
    if file is not None:
        file.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def commit() -> str | None:
    """Return the commit of the checkout, with "+" if files were changed.

    Without .git it is read from .carry/commit.
    """
    file = ROOT / ".carry" / "commit"
    if not (ROOT / ".git").exists():
        return file.read_text(encoding="utf-8").strip() if file.is_file() else None
    head = _git("rev-parse", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", "seqx", "plugins", "recipes")
    return head and head + ("+" if changed else "")


def _git(*arguments: str) -> str | None:
    if shutil.which("git") is None:
        return None
    process = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return process.stdout.strip() or None


def instructions() -> list[str]:
    """Return the names of the CPU's vector instruction sets, as far as the system reports them."""
    file = Path("/proc/cpuinfo")
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    match = re.search(r"^flags\s*: (.+)$", text, re.MULTILINE)
    return sorted(flag for flag in (match[1].split() if match else ()) if re.match("avx|amx|fma|f16c", flag))


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    match = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    return match[1] if match else platform.processor() or platform.machine()
