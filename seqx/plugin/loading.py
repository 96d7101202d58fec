"""Finding and loading plugins: installed ones by their entry point in group "seqx", local files by a recipe.

Each is loaded on its own: one that fails is kept as a fault and takes nothing else down.
"""

import hashlib
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.metadata import EntryPoint, entry_points
from importlib.util import module_from_spec
from pathlib import Path
from types import CodeType, ModuleType
from typing import NotRequired

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from pydantic import TypeAdapter
from typing_extensions import TypedDict

from seqx import __version__
from seqx.errors import Location, PluginError, UserError, shortened
from seqx.plugin import hooks
from seqx.plugin.registry import Component, Registry
from seqx.storage.bounded_read import read_bounded
from seqx_toolkit import DISTRIBUTION

GROUP = "seqx"

LOCAL = "plugins"
"""The folder beside a recipe of a run or a model that holds the local plugins which it names."""

_LARGEST = 1 << 24  # bytes of a local file

Kept = Mapping[str, Mapping[str, str | None]]
"""Of each plugin its version, where it is from, and the hash of a local one."""


class _MadeWith(TypedDict):
    plugins: NotRequired[Kept]


MADE_WITH = TypeAdapter(_MadeWith)
"""What a run or a model says of the plugins that it was made with."""

LOCAL_MODULE = "seqx_local_"
"""What the modules of local files are called, before the file's own name."""


@dataclass(frozen=True)
class Plugin:
    """A plugin that was loaded; `data` is the text of a local file as it was then, `sha256` its hash."""

    name: str
    version: str
    source: str
    module: str
    components: Sequence[Component]
    sha256: str | None = None
    data: bytes = field(default=b"", repr=False)

    @property
    def key(self) -> str:
        """What runs and models call it: local files as they lie beside a recipe."""
        return self.name if self.sha256 is None else f"{LOCAL}/{Path(self.source).name}"

    @property
    def interfaces(self) -> list[str]:
        """The interfaces that the plugin defines itself and has components for."""
        found = (component.interface for component in self.components)
        return list(dict.fromkeys(k.__name__ for k in found if package(k.__module__) == package(self.module)))


@dataclass(frozen=True)
class Fault:
    """A plugin that could not be loaded, and why."""

    name: str
    version: str
    source: str
    error: str
    trace: str


@dataclass(frozen=True)
class Plugins:
    """Every plugin that was found, and the components that they brought."""

    registry: Registry = field(default_factory=Registry)
    loaded: list[Plugin] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def of(self, component: Component) -> Plugin | None:
        """The plugin that brought a component."""
        return next((plugin for plugin in self.loaded if plugin.name == component.plugin), None)


def changed(plugins: Plugins, kept: Kept) -> str | None:
    """The first local file whose text is not that of which a run or a model `kept` the hash, by keys."""
    local = (plugin for plugin in plugins.loaded if plugin.sha256 is not None)
    return next((p.key for p in local if p.sha256 != kept.get(p.key, {}).get("sha256")), None)


def load_plugins(
    local: Mapping[Path, Location] | None = None,
    found: Iterable[EntryPoint] | None = None,
    kept: Kept | None = None,
) -> Plugins:
    """Load the installed plugins and then `local` files, given with the places that name them.

    `found` stands in for what is installed. `kept`: what a model says of its plugins; a local file whose text
    has not the hash that is kept there is not run. One that fails raises PluginError at once, because the
    recipe that names it needs it.
    """
    plugins = Plugins()
    for entry in sorted(entry_points(group=GROUP) if found is None else found, key=_order):
        version, source = origin(entry)
        try:
            _unique(entry, plugins)
            _check_version(entry)
            components = register(entry.load(), entry.name, plugins.registry)
        except (Exception, SystemExit) as error:  # noqa: BLE001  whatever a stranger's import may raise
            text = _told(error, home(entry.module), "seqx --debug plugins")
            plugins.faults.append(Fault(entry.name, version, source, text, traceback.format_exc()))
            plugins.registry.absent.append(entry.name)
        else:
            plugins.loaded.append(Plugin(entry.name, version, source, entry.module, components))
    for path, at in (local or {}).items():
        if any(other != path and other.stem == path.stem for other in local or {}):
            raise PluginError(f"{at}: two local plugins are called {path.stem}; rename one")
        plugins.loaded.append(_load_file(path, at, plugins.registry, kept))
    return plugins


def package(module: str) -> str:
    """The outermost package of a module."""
    return module.partition(".")[0]


def home(module: str) -> Path | None:
    """The folder of a module's outermost package, or its file; found without running it."""
    spec = PathFinder.find_spec(package(module))
    if spec is None:
        return None
    place = next(iter(spec.submodule_search_locations or ()), spec.origin)
    return Path(place).resolve() if place else None


def origin(entry: EntryPoint) -> tuple[str, str]:
    """Version and name of the distribution that an entry point comes from."""
    return (entry.dist.version, entry.dist.name) if entry.dist else ("unknown", entry.value)


def _order(entry: EntryPoint) -> tuple[bool, str, str]:
    """Our own first, so that a clash of names is the newcomer's fault."""
    source = entry.dist.name if entry.dist else ""
    return source != DISTRIBUTION, source, entry.name


def _unique(entry: EntryPoint, plugins: Plugins) -> None:
    for other in plugins.loaded:
        if other.name == entry.name:
            raise PluginError(
                f"a plugin of {other.source} is called {entry.name!r}, too; uninstall one of them"
            )


def _check_version(entry: EntryPoint) -> None:
    """Check which version of seqx the metadata of the plugin's distribution asks for."""
    version, source = origin(entry)  # which reads a file: once for all lines
    for line in (entry.dist.requires if entry.dist else None) or ():
        try:
            needed = Requirement(line)
        except InvalidRequirement as error:
            said = str(error).partition("\n")[0]
            raise PluginError(
                f"{source}: its metadata has a dependency that is none, {line!r} ({said}); mend "
                "`dependencies` in its pyproject.toml, and install it anew"
            ) from None
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        name = canonicalize_name(needed.name)
        if name == "seqx":
            raise PluginError(
                f"{source} {version} depends on the package 'seqx', which is another project; write "
                f"{DISTRIBUTION}{needed.specifier} in `dependencies` of its pyproject.toml, and install it "
                "again"
            )
        if name == DISTRIBUTION and not needed.specifier.contains(__version__, prereleases=True):
            raise PluginError(
                f"{source} {version} needs {DISTRIBUTION}{needed.specifier}, and this is {DISTRIBUTION} "
                f"{__version__}; install a seqx that it can use, or another version of {source}"
            )


def _told(error: BaseException, place: Path | None, command: str) -> str:
    """An error in a line: its own words, where in the plugin it came from, and how to see the rest."""
    if isinstance(error, UserError):
        return str(error)
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if place is not None and inside(Path(frame.filename), place)
    ]
    at = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said}{at}; `{command}` shows the traceback"


def inside(file: Path, place: Path) -> bool:
    """Whether a file is a plugin's: in its folder, or the one file that it is."""
    return file.resolve().is_relative_to(place)


def register(module: object, name: str, registry: Registry) -> list[Component]:
    """Let a plugin add its components to `registry`.

    Raises:
        PluginError: it implements a hook that does not exist, or adds nothing
    """
    manager = hooks.manager_of(hooks)
    marked = hooks.marked(manager, module)
    manager.register(module, name=name)
    with registry.on_behalf_of(name):
        manager.hook.seqx_register(registry=registry)
        components = registry.components_of(name)
        if not components:
            advice = (
                "its seqx_register calls registry.add for none"
                if marked
                else "it has no function seqx_register marked @seqx.hookimpl"
            )
            raise PluginError(f"registers no component: {advice}")
    return components


def _load_file(path: Path, at: Location, registry: Registry, kept: Kept | None) -> Plugin:
    name = f"{LOCAL_MODULE}{path.stem}"
    try:
        data = read_bounded(path, _LARGEST)
    except OSError as error:
        shown = shortened(str(path), 200)
        raise PluginError(f"{at}: cannot read the plugin {shown}: {error.strerror}") from error
    sha256 = hashlib.sha256(data).hexdigest()
    if kept is not None and sha256 != kept.get(f"{LOCAL}/{path.name}", {}).get("sha256"):
        raise PluginError(
            f"{at}: {path} is not the plugin that training began with, and was not run; put back its text, "
            "or get the whole folder again"
        )
    try:
        components = register(_import(name, path, data), str(path), registry)
    except (Exception, SystemExit) as error:
        told = _told(error, path.resolve(), "seqx --debug")
        raise PluginError(f"{at}: the plugin {path} does not load: {told}") from error
    return Plugin(str(path), "local file", str(path), name, components, sha256, data)


@dataclass(frozen=True)
class Source:
    """A local file as it was loaded, which another process can load, too, whatever lies there by then."""

    name: str
    path: str
    data: bytes

    def load(self) -> ModuleType:
        """The module, here."""
        return sys.modules.get(self.name) or _import(self.name, Path(self.path), self.data)


def sources() -> list[Source]:
    """The local files that were loaded in this process."""
    loaders = [getattr(module, "__loader__", None) for module in list(sys.modules.values())]
    return [Source(item.name, item.path, item.data) for item in loaders if isinstance(item, _Source)]


class _Source(SourceFileLoader):
    """Runs the very bytes whose hash is kept: neither a file that changed since, nor a compiled older one."""

    def __init__(self, name: str, path: str, data: bytes) -> None:
        super().__init__(name, path)
        self.data = data

    def get_code(self, fullname: str) -> CodeType:
        """Compiled from the source, always."""
        code: CodeType = self.source_to_code(self.data, self.path)
        return code


def _import(name: str, path: Path, data: bytes) -> ModuleType:
    if path.suffix != ".py":
        raise PluginError("a local plugin is a file of Python, NAME.py")
    spec = ModuleSpec(name, _Source(name, str(path), data), origin=str(path))
    spec.has_location = True
    module = module_from_spec(spec)
    assert spec.loader is not None
    sys.modules[name] = module  # dataclasses and pickling look a class's module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
