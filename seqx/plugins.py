"""Finding and loading plugins: installed ones by their entry point in group "seqx", local files by a recipe.

Each is loaded on its own: one that fails is kept as a fault and takes nothing else down.
"""

import difflib
import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

import pluggy

from seqx import hooks
from seqx.errors import At, PluginError, UserError
from seqx.registry import Component, Registry

GROUP = "seqx"


@dataclass(frozen=True)
class Plugin:
    """A plugin that was loaded; `sha256` is that of a local file."""

    name: str
    version: str
    source: str
    components: Sequence[Component]
    sha256: str | None = None


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


def load(local: Mapping[Path, At] | None = None, found: Iterable[EntryPoint] | None = None) -> Plugins:
    """Load the installed plugins and then `local` files, given with the places that name them.

    `found` stands in for what is installed. A local file that fails raises PluginError at once, because the
    recipe that names it needs it.
    """
    plugins = Plugins()
    for entry in sorted(entry_points(group=GROUP) if found is None else found, key=_order):
        version, source = _origin(entry)
        try:
            _unique(entry, plugins)
            components = _register(entry.load(), entry.name, plugins.registry)
        except (Exception, SystemExit) as error:  # noqa: BLE001  whatever a stranger's import may raise
            fault = Fault(entry.name, version, source, _short(error), traceback.format_exc())
            plugins.faults.append(fault)
            plugins.registry.absent.append(entry.name)
        else:
            plugins.loaded.append(Plugin(entry.name, version, source, components))
    for path, at in (local or {}).items():
        if any(other != path and other.stem == path.stem for other in local or {}):
            raise PluginError(f"{at}: two local plugins are called {path.stem}; rename one")
        plugins.loaded.append(_load_file(path, at, plugins.registry))
    return plugins


def _order(entry: EntryPoint) -> tuple[bool, str, str]:
    """Our own first, so that a clash of names is the newcomer's fault."""
    source = entry.dist.name if entry.dist else ""
    return source != "seqx", source, entry.name


def _unique(entry: EntryPoint, plugins: Plugins) -> None:
    for other in plugins.loaded:
        if other.name == entry.name:
            raise PluginError(
                f"a plugin of {other.source} is called {entry.name!r}, too; uninstall one of them"
            )


def _origin(entry: EntryPoint) -> tuple[str, str]:
    return (entry.dist.version, entry.dist.name) if entry.dist else ("unknown", entry.value)


def _short(error: BaseException) -> str:
    return str(error) if isinstance(error, PluginError) else f"{type(error).__name__}: {error}"


def _within(path: Path, error: BaseException) -> str:
    """Where in the file at `path` an error came from, if its text does not say it and the file was run."""
    if isinstance(error, UserError):
        return ""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == path.resolve()]
    place = f" ({path}:{lines[-1]})" if lines else ""
    return f"{place}; `seqx --debug` shows the traceback"


def _register(module: object, name: str, registry: Registry) -> list[Component]:
    manager = pluggy.PluginManager("seqx")
    manager.add_hookspecs(hooks)
    manager.register(module, name=name)
    marked = [hook for hook in vars(module) if manager.parse_hookimpl_opts(module, hook) is not None]
    for hook in marked:
        if not getattr(manager.hook, hook).has_spec():
            near = difflib.get_close_matches(hook, ["seqx_register"], 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise PluginError(f"there is no hook {hook!r} to implement{hint}")
    with registry.on_behalf_of(name):
        manager.hook.seqx_register(registry=registry)
        components = registry.brought_by(name)
        if not components:
            missing = "" if marked else ": it has no function seqx_register marked @seqx.hookimpl"
            raise PluginError(f"registers no component{missing}")
    return components


def _load_file(path: Path, at: At, registry: Registry) -> Plugin:
    name = f"seqx_local_{path.stem}"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PluginError(f"{at}: cannot read the plugin {path}: {error.strerror}") from error
    try:
        components = _register(_import(name, path), str(path), registry)
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"{at}: the plugin {path} does not load: {_short(error)}{_within(path, error)}"
        ) from error
    return Plugin(str(path), "local file", str(path), components, hashlib.sha256(data).hexdigest())


def _import(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError("a local plugin is a file of Python, NAME.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickling look a class's module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
