"""Facts about the installation and the machine for `seqx doctor`, and the problems that they show.

Each part is read separately: if a part cannot be read, this is reported as a problem, and the other parts are
still read. Therefore this module imports torch and plugins only inside of functions.
"""

import importlib
import importlib.metadata
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seqx import __version__
from seqx.runtime.extras import PURPOSES, install_command
from seqx.storage.cache_folder import default_cache
from seqx_toolkit import DISTRIBUTION, conflict

_GB = 1e9
_LITTLE_DISK, _LITTLE_MEMORY = 2 * _GB, 2 * _GB
_VARIABLES = ("OMP_", "GOMP_", "MKL_", "ONEDNN_", "DNNL_", "ATEN_", "CUDA_", "PYTORCH_", "SEQX_", "NLTK_DATA")
_FLAGS = ("avx2", "avx512_f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_tile")
_MEMORY = Path("/proc/meminfo")
_NVIDIA = Path("/proc/driver/nvidia")


@dataclass
class Diagnosis:
    """The facts by part, and a line for each problem, which says what to do."""

    facts: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def diagnose() -> Diagnosis:
    """Read all parts; if one of them cannot be read, the error is added to the problems."""
    diagnosis = Diagnosis()
    for name, read in _PARTS.items():
        try:
            diagnosis.facts[name] = read(diagnosis.problems)
        except (Exception, SystemExit) as error:  # noqa: BLE001  a broken package may raise anything
            diagnosis.facts[name] = None
            text = " ".join(str(error).split()) or type(error).__name__
            diagnosis.problems.append(f"{name}: cannot be read: {text}")
    return diagnosis


def _versions(problems: list[str]) -> Mapping[str, Any]:
    if message := conflict():
        problems.append(message)
    packages = {}
    for requirement in _requirements(""):
        packages[requirement.name] = installed = _installed(requirement.name)
        if installed is None or not requirement.specifier.contains(installed, prereleases=True):
            found = "is not installed" if installed is None else f"{installed} is installed"
            problems.append(
                f"{requirement.name}: {found}, but seqx needs {requirement}; install seqx again from its "
                f"checkout: {install_command()}"
            )
    return {"seqx": __version__, "python": platform.python_version(), **packages}


def _requirements(extra: str) -> Iterator[Any]:
    """Yield the requirements of an extra, or those of seqx itself if `extra` is empty."""
    from packaging.requirements import Requirement  # noqa: PLC0415

    for line in importlib.metadata.requires(DISTRIBUTION) or ():
        requirement = Requirement(line)
        marker = requirement.marker
        needed_by = [each for each in ("", extra) if marker is None or marker.evaluate({"extra": each})]
        if needed_by[:1] == [extra]:
            yield requirement


def _installed(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu(problems: list[str]) -> Mapping[str, Any]:
    import torch  # noqa: PLC0415

    from seqx.runtime.cpu_threads import cpus  # noqa: PLC0415
    from seqx.runtime.precision import precision_of  # noqa: PLC0415

    capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    threads, available = torch.get_num_threads(), cpus()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if threads < available and "OMP_NUM_THREADS" in os.environ:
        problems.append(
            f"threads: OMP_NUM_THREADS={os.environ['OMP_NUM_THREADS']} limits computations to {threads} of "
            f"{available} CPUs; unset it, or pass --threads {available} to `seqx run`"
        )
    all_cpus = os.cpu_count() or 1
    if load > all_cpus + 0.5:
        problems.append(
            f"load: {load:.1f} processes compete for {all_cpus} CPUs, so training is slower; stop the others"
        )
    return {
        "name": capabilities.get("cpu_name") or platform.processor() or platform.machine(),
        "flags": [flag for flag in _FLAGS if capabilities.get(flag)],
        "kernels": torch.backends.cpu.get_cpu_capability(),
        "precision": precision_of("auto", torch.device("cpu")),
        "cpus": available,
        "threads": threads,
        "load": load,
    }


def _gpu(problems: list[str]) -> list[Mapping[str, Any]]:
    import torch  # noqa: PLC0415

    if not torch.cuda.is_available():
        if _NVIDIA.exists():
            reason = (
                "this torch is built for CPUs only" if torch.version.cuda is None else "CUDA does not start"
            )
            problems.append(
                f"gpu: there is an NVIDIA driver, but {reason}; install a torch for your driver, see "
                "https://pytorch.org/get-started/locally"
            )
        return []
    return [
        {"name": each.name, "bytes": each.total_memory, "capability": f"{each.major}.{each.minor}"}
        for each in map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    ]


def _memory(problems: list[str]) -> Mapping[str, int] | None:
    """Return the bytes of memory, in total and available; None if the system does not report it."""
    if not _MEMORY.is_file():
        return None
    lines = (line.split() for line in _MEMORY.read_text(encoding="ascii").splitlines())
    amounts = {words[0]: int(words[1]) * 1024 for words in lines if len(words) > 1}
    memory = {"total": amounts["MemTotal:"], "available": amounts["MemAvailable:"]}
    if memory["available"] < _LITTLE_MEMORY:
        problems.append(
            f"memory: only {memory['available'] / _GB:.1f} GB are available; stop other programs, or train "
            "a smaller model, with a smaller training.microbatch"
        )
    return memory


def _disk(problems: list[str]) -> Mapping[str, Any]:
    folders = {"this folder": Path.cwd(), "temporary files": Path(tempfile.gettempdir())}
    free = {name: shutil.disk_usage(folder).free for name, folder in folders.items()}
    for name, count in free.items():
        if count < _LITTLE_DISK:
            problems.append(f"disk: {folders[name]} has only {count / _GB:.1f} GB left; free disk space")
        if not _is_writable(folders[name]):
            problems.append(f"disk: {folders[name]} is not writable; work in another folder")
    return free


def _is_writable(folder: Path) -> bool:
    """Return true if a file can be created in a folder."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _cache(problems: list[str]) -> Mapping[str, Any]:
    folder = default_cache()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    is_writable = _is_writable(existing)
    if not is_writable:
        problems.append(
            f"cache: {folder} is not writable; make it writable, or set the environment variable SEQX_CACHE "
            "to another folder"
        )
    files = [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
    return {
        "folder": str(folder),
        "bytes": sum(path.stat().st_size for path in files),
        "free": shutil.disk_usage(existing).free,
        "writable": is_writable,
    }


def _extras(_problems: list[str]) -> Mapping[str, Any]:
    """Return the missing packages and the purpose of each extra that is not complete."""
    missing = {
        extra: [each.name for each in _requirements(extra) if _installed(each.name) is None]
        for extra in PURPOSES
    }
    return {
        extra: {"missing": names, "purpose": PURPOSES[extra]} for extra, names in missing.items() if names
    }


def _plugins(problems: list[str]) -> Mapping[str, Any]:
    from seqx.cli import plugin_commands  # noqa: PLC0415
    from seqx.plugin.loading import load_plugins  # noqa: PLC0415

    plugins = load_plugins()
    problems += [
        f"plugin {fault.name} {fault.version}, from {fault.source}: {fault.error}; update or uninstall it"
        for fault in plugins.faults
    ]
    if not plugins.loaded:
        problems.append("plugins: none is installed; install seqx again from its checkout")
    commands, ignored = plugin_commands()
    for name, entries in commands.items():
        for entry in entries:
            try:
                entry.load()
            except (Exception, SystemExit) as error:  # noqa: BLE001  an import may raise anything
                source = entry.dist.name if entry.dist else entry.value
                text = " ".join(str(error).split())
                problems.append(f"command {name}, from {source}: {text}; update or uninstall it")
    return {
        "loaded": [f"{each.name} {each.version}" for each in plugins.loaded if each.source != DISTRIBUTION],
        "included": sum(each.source == DISTRIBUTION for each in plugins.loaded),
        "failed": [each.name for each in plugins.faults],
        "ignored_commands": [entry.name for entry in ignored],
    }


def _environment(_problems: list[str]) -> Mapping[str, str]:
    """Return the environment variables that change how seqx computes."""
    return {name: value for name, value in sorted(os.environ.items()) if name.startswith(_VARIABLES)}


_PARTS: Mapping[str, Callable[[list[str]], Any]] = {
    "versions": _versions,
    "system": lambda _problems: platform.platform(),
    "cpu": _cpu,
    "gpu": _gpu,
    "memory": _memory,
    "disk": _disk,
    "cache": _cache,
    "extras": _extras,
    "plugins": _plugins,
    "environment": _environment,
}
