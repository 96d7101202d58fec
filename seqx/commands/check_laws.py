"""Check the laws of the components of a Python file, for `seqx check FILE.py`."""

import contextlib
import importlib
import logging
import traceback
import unittest
from collections.abc import Iterator, Sequence
from pathlib import Path

import seqx.testing  # registers the laws
from seqx.errors import Location, UserError
from seqx.plugin.loading import load_plugins, package
from seqx.plugin.registry import Component
from seqx.testing.law import Law, name_of

_MAX_LINES = 3  # of an error: those of torch's compiler have dozens


def check_laws(file: str) -> list[str]:
    """Check that the components of a local plugin obey the laws; return one line about each.

    Raises:
        UserError: the plugin does not load, or a component breaks a law
    """
    path = Path(file)
    if not path.is_file():
        raise UserError(f"{file}: there is no such file; `seqx new component --help` says how to write one")
    plugin = load_plugins({path: Location(file, 1, 1)}).loaded[-1]
    lines, problems = [], []
    for component in plugin.components:
        title = f"{file}: {component.interface.__name__} {component.name}"
        missing = [setting.name for setting in component.settings.values() if setting.required]
        if missing:
            lines.append(
                f"{title}: not checked, because it needs the settings {', '.join(missing)}; write a test "
                "with seqx.testing.laws(MODULE, settings={CLASS: SETTINGS})"
            )
            continue
        laws = _laws(component)
        lines.append(f"{title}: obeys {len(laws)} laws")
        problems += [f"{title} {text}" for text in _broken(component, laws, path)]
    if problems:
        problems[0] += " (fix this one first; other laws may fail because of it)" if problems[1:] else ""
        raise UserError("\n".join(problems))
    return lines


def _laws(component: Component) -> Sequence[Law]:
    """Return the laws of a component, also if a plugin defines its interface."""
    with contextlib.suppress(ModuleNotFoundError):
        importlib.import_module(f"{package(component.interface.__module__)}.testing")
    return seqx.testing.laws_of(component.interface, component.maker)


def _broken(component: Component, laws: Sequence[Law], path: Path) -> Iterator[str]:
    """Yield a message for each failure of a component, with the laws that have this failure."""
    failures: dict[str, list[str]] = {}
    for law, failure in _failures(component, laws, path):
        failures.setdefault(failure, []).append(name_of(law))
    for failure, (first, *others) in failures.items():
        more = f" and {len(others)} other law{'s' if others[1:] else ''}" if others else ""
        yield f"breaks the law {first}{more}: {failure}"


@contextlib.contextmanager
def _no_logs() -> Iterator[None]:
    """Disable logging, because torch's compiler logs errors that the messages of this module contain."""
    before = logging.root.manager.disable
    logging.disable()
    try:
        yield
    finally:
        logging.disable(before)


def _failures(component: Component, laws: Sequence[Law], path: Path) -> Iterator[tuple[Law, str]]:
    """Yield each law that a component breaks, with a text about the failure."""
    for law in laws:
        try:
            with _no_logs():
                law(seqx.testing.Subject(component))
        except unittest.SkipTest:
            continue
        except AssertionError as error:
            yield law, str(error)
        except Exception as error:  # noqa: BLE001  a component may raise anything
            frames = traceback.extract_tb(error.__traceback__)
            at = [f" (line {frame.lineno})" for frame in frames if Path(frame.filename) == path]
            text = "\n".join(str(error).strip().splitlines()[:_MAX_LINES])
            yield law, f"{type(error).__name__}: {text}{at[-1] if at else ''}"
