"""Advice about the name of a component that no loaded plugin has registered."""

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from seqx.plugin.registry import Registry
from seqx.recipe.renamed import is_stored
from seqx.recipe.suggestions import hint, nearest
from seqx.storage.bounded_read import read_bounded

_MAX_FILES = 100  # that are searched for a component
_MAX_BYTES = 1 << 20  # maximum size of such a file


def advice(name: str, known: list[str], registry: Registry, source: str) -> str:
    """Return the end of a message: a similar name, or the plugin that may have the component.

    Args:
        name: the name that no component has
        known: the names of components of the same interface
        registry: the components of the loaded plugins
        source: the file of the recipe, if it is one
    """
    others = [each.__name__ for each in registry.interfaces() if name in registry.components(each)]
    if others:
        return f"; this name belongs to another interface, {' and '.join(others)}{hint('', known)}"
    file = Path(source)
    is_file = file.suffix == ".yaml" and file.is_file()
    for plugin in _plugins_with(name, file.parent) if is_file else ():
        advised = f"plugins: [./{plugin.name}]"
        return f"; {plugin.name} beside the recipe may register it: add {advised} to the recipe"
    text = hint(name, known)
    if registry.failed_plugins:
        names = ", ".join(map(repr, registry.failed_plugins))
        text += f" (these plugins failed to load: {names}; see `seqx plugins`)"
    elif is_file and not is_stored(source) and nearest(name, known) is None:
        text += "; if a plugin has it, list its file in the recipe, as in plugins: [./mine.py], or install it"
    return text


def _plugins_with(name: str, folder: Path) -> Iterator[Path]:
    """Yield the Python files of a folder that seem to register a component of this name."""
    registers = re.compile(rb"\.add\([^()]*\b%s\s*=" % re.escape(name).encode())
    for file in islice(sorted(folder.glob("*.py")), _MAX_FILES):
        try:
            data = read_bounded(file, _MAX_BYTES)
        except OSError:
            continue
        if b"seqx_register" in data and registers.search(data):
            yield file
