"""Find and load plugins: installed ones by their entry points, and local files that a recipe names.

If an installed plugin fails to load, the reason is recorded as a fault, and the other plugins load. A local
plugin that fails to load is an error.
"""

import functools
import hashlib
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.machinery import PathFinder
from importlib.metadata import Distribution, EntryPoint
from pathlib import Path
from typing import NotRequired

from pluggy import PluginManager
from pydantic import TypeAdapter
from typing_extensions import TypedDict

from seqx import __version__
from seqx.errors import Location, PluginError, UserError, shortened
from seqx.interfaces.learning import Callback
from seqx.plugin import hooks
from seqx.plugin.installed import PLUGIN_GROUP, entry_point_key, entry_points, origin
from seqx.plugin.local import LOCAL_MODULE, import_local
from seqx.plugin.registry import Component, Registry
from seqx.storage.bounded_read import read_bounded
from seqx_toolkit import DISTRIBUTION

LOCAL_FOLDER = "plugins"
"""The folder beside the recipe of a run or a model that holds its local plugins."""

_MAX_BYTES = 1 << 24  # maximum size of a local plugin

RecordedPlugins = Mapping[str, Mapping[str, str | None]]
"""The version, the distribution and, for a local file, the SHA-256 of each plugin of a run or a model."""


class _PluginsField(TypedDict):
    plugins: NotRequired[RecordedPlugins]


PLUGINS_FIELD = TypeAdapter(_PluginsField)
"""The type of the field `plugins` in `environment.json` of a run and `model.json` of a model."""


@dataclass(frozen=True)
class Plugin:
    """A loaded plugin."""

    name: str
    version: str
    source: str  # the distribution, or the path of a local file
    module: str
    components: Sequence[Component]
    sha256: str | None = None  # of a local file, when it was loaded
    data: bytes = field(default=b"", repr=False)  # the content of a local file, when it was loaded

    @property
    def key(self) -> str:
        """The key in files of runs and models: the name; for a local plugin its path from the run folder."""
        return self.name if self.sha256 is None else f"{LOCAL_FOLDER}/{Path(self.source).name}"

    @property
    def interfaces(self) -> list[str]:
        """The interfaces that the plugin defines itself and has components for."""
        found = (component.interface for component in self.components)
        return list(dict.fromkeys(k.__name__ for k in found if package(k.__module__) == package(self.module)))


@dataclass(frozen=True)
class Fault:
    """A plugin that could not be loaded, and the reason."""

    name: str
    version: str
    source: str
    error: str
    trace: str


@dataclass(frozen=True)
class Plugins:
    """All plugins that were found, and the registry of their components."""

    registry: Registry = field(default_factory=Registry)
    loaded: list[Plugin] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    run_hooks: PluginManager = field(default_factory=lambda: hooks.manager_of(hooks))  # of `loaded`

    def of(self, component: Component) -> Plugin | None:
        """Return the plugin that registered a component."""
        return next((plugin for plugin in self.loaded if plugin.name == component.plugin), None)


def changed_local_plugin(plugins: Plugins, recorded: RecordedPlugins) -> str | None:
    """Return the key of the first local plugin whose SHA-256 differs from the recorded one, or None."""
    local = (plugin for plugin in plugins.loaded if plugin.sha256 is not None)
    return next((p.key for p in local if p.sha256 != recorded.get(p.key, {}).get("sha256")), None)


def load_plugins(
    local: Mapping[Path, Location] | None = None,
    found: Iterable[EntryPoint] | None = None,
    recorded: RecordedPlugins | None = None,
) -> Plugins:
    """Load the installed plugins, then local ones.

    Args:
        local: files of local plugins, with the locations in the recipe that name them
        found: the entry points to load; None: those of installed distributions
        recorded: the plugins that a run or a model recorded; a local file with another SHA-256 is not run

    Raises:
        PluginError: a local plugin does not load
    """
    plugins = Plugins()
    for entry in entry_points(group=PLUGIN_GROUP) if found is None else sorted(found, key=entry_point_key):
        version, source = origin(entry)
        try:
            _check_name(entry, plugins)
            if entry.dist:
                _check_version(entry.dist)
            module = entry.load()
            components = register(module, entry.name, plugins.registry)
            plugins.run_hooks.register(module, name=entry.name)
        except (Exception, SystemExit) as error:  # noqa: BLE001  an import may raise anything
            text = _one_line(error, package_path(entry.module), "seqx --debug plugins")
            plugins.faults.append(Fault(entry.name, version, source, text, traceback.format_exc()))
            plugins.registry.failed_plugins.append(entry.name)
        else:
            plugins.loaded.append(Plugin(entry.name, version, source, entry.module, components))
    for path, at in (local or {}).items():
        if any(other != path and other.stem == path.stem for other in local or {}):
            raise PluginError(f"{at}: two local plugins are called {path.stem}; rename one of the files")
        plugins.loaded.append(_load_file(path, at, plugins, recorded))
    return plugins


def package(module: str) -> str:
    """Return the outermost package of a module."""
    return module.partition(".")[0]


def package_path(module: str) -> Path | None:
    """Return the folder of a module's outermost package, or the file of a single module; do not import it."""
    spec = PathFinder.find_spec(package(module))
    if spec is None:
        return None
    folder = next(iter(spec.submodule_search_locations or ()), spec.origin)
    return Path(folder).resolve() if folder else None


def _check_name(entry: EntryPoint, plugins: Plugins) -> None:
    for other in plugins.loaded:
        if other.name == entry.name:
            raise PluginError(
                f"a plugin of {other.source} is also called {entry.name!r}; uninstall one of them"
            )


@functools.lru_cache(maxsize=32)
def _check_version(dist: Distribution) -> None:
    """Check that a distribution with plugins allows this version of seqx; a success is cached."""
    version, source = dist.version, dist.name
    if source == DISTRIBUTION:
        return
    # Only plugins of other distributions need these modules.
    from packaging.requirements import InvalidRequirement, Requirement  # noqa: PLC0415
    from packaging.utils import canonicalize_name  # noqa: PLC0415

    for line in dist.requires or ():
        try:
            needed = Requirement(line)
        except InvalidRequirement as error:
            reason = str(error).partition("\n")[0]
            raise PluginError(
                f"{source}: its metadata has an invalid dependency, {line!r} ({reason}); correct "
                "`dependencies` in its pyproject.toml, and install it again"
            ) from None
        name = canonicalize_name(needed.name)
        if name not in ("seqx", DISTRIBUTION):
            continue
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        if name == "seqx":
            raise PluginError(
                f"{source} {version} depends on the package 'seqx', which is another project; write "
                f"{DISTRIBUTION}{needed.specifier} in `dependencies` of its pyproject.toml, and install it "
                "again"
            )
        if name == DISTRIBUTION and not needed.specifier.contains(__version__, prereleases=True):
            raise PluginError(
                f"{source} {version} needs {DISTRIBUTION}{needed.specifier}, and this is {DISTRIBUTION} "
                f"{__version__}; install that version of seqx, or another version of {source}"
            )


def _one_line(error: BaseException, plugin_path: Path | None, command: str) -> str:
    """Return one line: an error, its file and line in the plugin, and a command for the traceback."""
    if isinstance(error, UserError):
        return str(error)
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if plugin_path is not None and is_inside(Path(frame.filename), plugin_path)
    ]
    at = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}{at}; `{command}` shows the traceback"


def is_inside(file: Path, folder: Path) -> bool:
    """Return true if a file is in the folder of a plugin, or is the file of the plugin."""
    return file.resolve().is_relative_to(folder)


def register(module: object, name: str, registry: Registry) -> list[Component]:
    """Add the components of a plugin to `registry`, and return them.

    Raises:
        PluginError: the plugin implements a hook that does not exist, or adds no component and has no other
            hook
        RegistrationError: another component has the name, or a constructor does not fit its interface
    """
    hook = getattr(module, "seqx_register", None)
    components = _components(module, hook, name)
    if not all(map(_is_current, components)):
        _components.cache_clear()
        components = _components(module, hook, name)
    registry.extend(components)
    return [*components]


def _is_current(component: Component) -> bool:
    """Return true unless a reload has replaced the class of a component by another one of the same name."""
    maker = component.maker
    if not isinstance(maker, type) or "." in maker.__qualname__:
        return True
    return getattr(sys.modules.get(maker.__module__), maker.__name__, maker) is maker


@functools.lru_cache(maxsize=64)
def _components(module: object, _seqx_register: object, name: str) -> Sequence[Component]:
    """Return the components that the hook `seqx_register` of a plugin adds, with their plugin's name.

    They are cached, because inspecting all constructors takes long. A module that was reloaded has another
    function `seqx_register`, and is inspected again.
    """
    manager = hooks.manager_of(hooks)
    implemented = hooks.implemented_hooks(manager, module)
    manager.register(module, name=name)
    registry = Registry(plugin=name)
    manager.hook.seqx_register(registry=registry)
    components = registry.components_of(name)
    if not components and not {*implemented} - {"seqx_register"}:
        advice = (
            "its seqx_register does not call registry.add"
            if implemented
            else "it has no function seqx_register that is marked @seqx.hookimpl"
        )
        raise PluginError(f"registers no component: {advice}")
    for component in components:
        if issubclass(component.interface, Callback) and isinstance(component.maker, type):
            hooks.check_events(component.maker)
    return components


def _load_file(path: Path, at: Location, plugins: Plugins, recorded: RecordedPlugins | None) -> Plugin:
    name = f"{LOCAL_MODULE}{path.stem}"
    try:
        data = read_bounded(path, _MAX_BYTES)
    except OSError as error:
        shown = shortened(str(path), 200)
        message = f"cannot read the plugin {shown}: {error.strerror}; correct the path, or remove it"
        raise PluginError(f"{at}: {message}") from error
    sha256 = hashlib.sha256(data).hexdigest()
    if recorded is not None and sha256 != recorded.get(f"{LOCAL_FOLDER}/{path.name}", {}).get("sha256"):
        raise PluginError(
            f"{at}: {path} has changed since it was recorded (its SHA-256 differs), and was not run; restore "
            "the file, or copy the whole folder again"
        )
    try:
        module = import_local(name, path, data)
        components = register(module, str(path), plugins.registry)
        plugins.run_hooks.register(module, name=str(path))
    except (Exception, SystemExit) as error:
        reason = _one_line(error, path.resolve(), "seqx --debug")
        raise PluginError(f"{at}: the plugin {path} does not load: {reason}") from error
    return Plugin(str(path), "local file", str(path), name, components, sha256, data)
