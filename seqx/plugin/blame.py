"""Find the plugin that raised an error, by its traceback.

Training is not slower, because calls of plugins are not wrapped. Instead, when an error ends a command, the
files of its traceback are compared with the folders of plugins. An external plugin is one that is not
included in seqx.
"""

import functools
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from traceback import walk_tb
from types import FrameType

from seqx.errors import PluginError, UserError
from seqx.plugin.installed import PLUGIN_GROUP, entry_points, origin
from seqx.plugin.loading import is_inside, package_path, register
from seqx.plugin.local import LOCAL_MODULE
from seqx.plugin.registry import Component, Registry, where
from seqx_toolkit import DISTRIBUTION

_OF_SIZES = re.compile("overflow|negative dimension", re.IGNORECASE)
"""Words of torch's messages about tensors that are too large, or that have a negative size."""

_TRACEBACK_LINE = re.compile(r'^ +File "(.+)", line (\d+), in ', re.MULTILINE)


@dataclass(frozen=True)
class _PluginCode:
    """The code of a plugin that may have raised an error."""

    title: str  # in messages
    path: Path  # the folder of its package, or its file
    module: str
    external: bool


@dataclass(frozen=True)
class _TracebackLine:
    """A line of a traceback. It has no frame if it was executed in another process."""

    file: str
    line: int
    frame: FrameType | None = None


def message_naming_plugin(error: BaseException) -> str | None:
    """Return a message with the plugin, the component and the line that raised an error.

    The message names the plugin with the innermost line of the traceback. If that plugin is included in seqx,
    the message also names the external plugin that called it.

    Returns:
        the message; None if no external plugin ran, so that the error is a bug of seqx
    """
    plugins = list(_installed_and_local())
    for cause in _chain(error):
        lines = [
            (line, plugin)
            for line in _traceback_lines(cause)
            if (plugin := _plugin_of(line, plugins)) is not None
        ]
        external = [(line, plugin) for line, plugin in lines if plugin.external]
        if external:
            message = f"{_describe(*lines[-1], lines)}: {type(error).__name__}: {_text(error)}"
            if not lines[-1][1].external:
                message += f" (called by {_describe(*external[-1], lines)})"
            return f"{message}; `seqx --debug` shows the traceback"
        if missing := _missing_attribute(cause, plugins):
            return missing
    return None


def construction_error(error: Exception, message: str) -> UserError:
    """Return the error about a model that cannot be built.

    Args:
        error: an error of torch in a constructor
        message: a message about the sizes of the model; used if these cause the error, or if no external
            plugin ran
    """
    blamed = None if _OF_SIZES.search(str(error)) else message_naming_plugin(error)
    return UserError(message) if blamed is None else PluginError(blamed)


def _missing_attribute(error: BaseException, plugins: Sequence[_PluginCode]) -> str | None:
    """Return a message if an object of an external plugin lacks an attribute that seqx needs.

    A method of its base class sets the attribute, and the plugin overrides this method without calling it.
    """
    cls = type(getattr(error, "obj", None))
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    plugin = _plugin_of(_TracebackLine(file, 0), plugins) if file else None
    if not isinstance(error, AttributeError) or plugin is None or not plugin.external:
        return None
    return (
        f"{where(cls)}: {plugin.title}: {_text(error)}; if a method of a base class sets it, call "
        "super().METHOD(...) where the plugin overrides that method; `seqx --debug` shows the traceback"
    )


def _text(error: BaseException) -> str:
    return " ".join(str(error).split()) or "no reason given"


def _describe(
    line: _TracebackLine, plugin: _PluginCode, lines: Sequence[tuple[_TracebackLine, _PluginCode]]
) -> str:
    """Return file and line, the plugin, and the component that ran in one of its `lines`."""
    frames = [other.frame for other, owner in lines if owner is plugin and other.frame is not None]
    component = _component(frames, plugin)
    suffix = f", {component.interface.__name__} {component.name!r}" if component else ""
    return f"{line.file}:{line.line}: {plugin.title}{suffix}"


def _installed_and_local() -> Iterator[_PluginCode]:
    for entry in entry_points(group=PLUGIN_GROUP):
        folder = package_path(entry.module)
        if folder is not None:
            version, source = origin(entry)
            yield _PluginCode(
                f"plugin {entry.name!r} ({source} {version})",
                folder,
                entry.module,
                external=source != DISTRIBUTION,
            )
    for name, module in list(sys.modules.items()):
        if name.startswith(LOCAL_MODULE) and module.__file__:
            yield _PluginCode(
                f"plugin {module.__file__}", Path(module.__file__).resolve(), name, external=True
            )


def _plugin_of(line: _TracebackLine, plugins: Sequence[_PluginCode]) -> _PluginCode | None:
    return next((plugin for plugin in plugins if is_inside(Path(line.file), plugin.path)), None)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes. A compiler, for example, wraps errors of the code that it compiles."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__


def _traceback_lines(error: BaseException) -> list[_TracebackLine]:
    """Return the lines of a traceback, innermost last."""
    lines = [
        _TracebackLine(frame.f_code.co_filename, line, frame) for frame, line in walk_tb(error.__traceback__)
    ]
    # An error from another process has the traceback of that process as text.
    remote_lines = _TRACEBACK_LINE.findall(str(error)) if type(error).__name__ == "_RemoteTraceback" else []
    return lines + [_TracebackLine(file, int(line)) for file, line in remote_lines]


def _component(frames: Sequence[FrameType], plugin: _PluginCode) -> Component | None:
    """Return the component whose method was running; the innermost one if there are several."""
    module = sys.modules.get(plugin.module)
    if module is None:  # only a command of the plugin was imported
        return None
    try:
        makers = {_class(part.maker): part for part in register(module, plugin.module, Registry())}
    except Exception:  # noqa: BLE001  registering again must not hide the error
        return None
    for frame in reversed(frames):
        for cls in type(frame.f_locals.get("self")).__mro__:
            if cls in makers:
                return makers[cls]
    return None


def _class(maker: object) -> object:
    return _class(maker.func) if isinstance(maker, functools.partial) else maker
