"""Find the plugin that raised an error, by its traceback.

Calls of plugins are not wrapped, so training is not slower. Instead, when an error ends a command, the files
of its traceback are compared with the folders of plugins.
"""

import functools
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from traceback import walk_tb
from types import FrameType

from seqx.plugin.loading import GROUP, LOCAL_MODULE, home, inside, origin, register
from seqx.plugin.registry import Component, Registry
from seqx_toolkit import DISTRIBUTION

_TRACEBACK_LINE = re.compile(r'^ +File "(.+)", line (\d+), in ', re.MULTILINE)


@dataclass(frozen=True)
class _Author:
    """A plugin that may have raised an error, with the folder or file of its code."""

    title: str
    home: Path
    module: str
    outside: bool


@dataclass(frozen=True)
class _TracebackLine:
    """A line of a traceback; it has no frame if it ran in another process."""

    file: str
    line: int
    frame: FrameType | None = None


def attributed(error: BaseException) -> str | None:
    """Return a message that names the plugin, its component and the line; None if no outside plugin ran.

    The message names the plugin with the innermost line of the traceback. If that plugin is distributed with
    seqx, the message also names the outside plugin that called it. Without an outside plugin, the error is a
    bug of seqx.
    """
    authors = list(_authors())
    for cause in _chain(error):
        steps = [
            (step, author) for step in _steps(cause) if (author := _author_of(step, authors)) is not None
        ]
        outside = [(step, author) for step, author in steps if author.outside]
        if outside:
            message = f"{_describe(*steps[-1], steps)}: {type(error).__name__}: {_text(error)}"
            if not steps[-1][1].outside:
                message += f" (called by {_describe(*outside[-1], steps)})"
            return f"{message}; `seqx --debug` shows the traceback"
    return None


def _text(error: BaseException) -> str:
    return " ".join(str(error).split()) or "no reason given"


def _describe(step: _TracebackLine, author: _Author, steps: Sequence[tuple[_TracebackLine, _Author]]) -> str:
    frames = [line.frame for line, owner in steps if owner is author and line.frame is not None]
    component = _component(frames, author)
    part = f", {component.interface.__name__} {component.name!r}" if component else ""
    return f"{step.file}:{step.line}: {author.title}{part}"


def _authors() -> Iterator[_Author]:
    for entry in entry_points(group=GROUP):
        folder = home(entry.module)
        if folder is not None:
            version, source = origin(entry)
            yield _Author(
                f"plugin {entry.name!r} ({source} {version})",
                folder,
                entry.module,
                outside=source != DISTRIBUTION,
            )
    for name, module in list(sys.modules.items()):
        if name.startswith(LOCAL_MODULE) and module.__file__:
            yield _Author(f"plugin {module.__file__}", Path(module.__file__).resolve(), name, outside=True)


def _author_of(step: _TracebackLine, authors: Sequence[_Author]) -> _Author | None:
    return next((author for author in authors if inside(Path(step.file), author.home)), None)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes. A compiler, for example, wraps errors of the code that it compiles."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__


def _steps(error: BaseException) -> list[_TracebackLine]:
    """Return the lines of a traceback, innermost last."""
    steps = [
        _TracebackLine(frame.f_code.co_filename, line, frame) for frame, line in walk_tb(error.__traceback__)
    ]
    # An error from another process has the traceback of that process as text.
    remote_lines = _TRACEBACK_LINE.findall(str(error)) if type(error).__name__ == "_RemoteTraceback" else []
    return steps + [_TracebackLine(file, int(line)) for file, line in remote_lines]


def _component(frames: Sequence[FrameType], author: _Author) -> Component | None:
    """Return the component whose method was running; the innermost one if there are several."""
    module = sys.modules.get(author.module)
    if module is None:  # only a command of the plugin was imported
        return None
    try:
        makers = {_class(part.maker): part for part in register(module, author.module, Registry())}
    except Exception:  # noqa: BLE001  registering again must not hide the error
        return None
    for frame in reversed(frames):
        for cls in type(frame.f_locals.get("self")).__mro__:
            if cls in makers:
                return makers[cls]
    return None


def _class(maker: object) -> object:
    return _class(maker.func) if isinstance(maker, functools.partial) else maker
