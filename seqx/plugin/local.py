"""Import local plugins from the bytes that were read, in this process and in worker processes."""

import sys
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import module_from_spec
from pathlib import Path
from types import CodeType, ModuleType

from seqx.errors import PluginError

LOCAL_MODULE = "seqx_local_"
"""The prefix of the module names of local plugins; the name of the file follows."""


@dataclass(frozen=True)
class LocalSource:
    """A local plugin as it was loaded, so that another process loads the same code."""

    name: str
    path: str
    data: bytes

    def load(self) -> ModuleType:
        """Return the module; import it if this process has not imported it yet."""
        return sys.modules.get(self.name) or import_local(self.name, Path(self.path), self.data)


def local_sources() -> list[LocalSource]:
    """Return the local plugins that were loaded in this process."""
    loaders = [getattr(module, "__loader__", None) for module in list(sys.modules.values())]
    return [
        LocalSource(item.name, item.path, item.data) for item in loaders if isinstance(item, _LocalLoader)
    ]


class _LocalLoader(SourceFileLoader):
    """A loader that compiles the bytes whose hash was recorded. It reads neither the file nor a .pyc file."""

    def __init__(self, name: str, path: str, data: bytes) -> None:
        super().__init__(name, path)
        self.data = data

    def get_code(self, fullname: str) -> CodeType:
        """Return the compiled bytes."""
        code: CodeType = self.source_to_code(self.data, self.path)
        return code


def import_local(name: str, path: Path, data: bytes) -> ModuleType:
    """Import the content of a local plugin as the module `name`.

    Raises:
        PluginError: the file is not a Python file
    """
    if path.suffix != ".py":
        raise PluginError("a local plugin must be a Python file; rename it to NAME.py")
    spec = ModuleSpec(name, _LocalLoader(name, str(path), data), origin=str(path))
    spec.has_location = True
    module = module_from_spec(spec)
    assert spec.loader is not None
    sys.modules[name] = module  # dataclasses and pickle look up the module of a class
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
