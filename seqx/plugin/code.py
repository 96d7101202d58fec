"""Digests of the code of plugins."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from seqx.plugin.loading import Plugin, Plugins, package_path
from seqx.plugin.registry import Component
from seqx_toolkit import DISTRIBUTION


def code_digests(plugins: Plugins, components: Iterable[Component]) -> list[str]:
    """Return the SHA-256 of the code of each plugin that registered one of these components.

    Included plugins are left out: their code changes with the version of seqx.
    """
    owners = {plugin.name: plugin for plugin in map(plugins.of, components) if plugin is not None}
    return sorted(_digest(plugin) for plugin in owners.values() if plugin.source != DISTRIBUTION)


def _digest(plugin: Plugin) -> str:
    """Return the SHA-256 of a local plugin as it was loaded, or of the Python files of an installed one.

    Return the version of a plugin that has no file.
    """
    if plugin.sha256 is not None:
        return plugin.sha256
    folder = package_path(plugin.module)
    if folder is None:
        return plugin.version
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")) if folder.is_dir() else [folder]:
        name = file.relative_to(folder).as_posix()
        digest.update(f"{name} {hashlib.sha256(Path(file).read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()
