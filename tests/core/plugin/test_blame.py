"""A message about an error names the innermost plugin of the traceback, and its component."""

import multiprocessing
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

import seqx
from seqx.cli import main
from seqx.plugin.blame import message_naming_plugin

OUTSIDER = '''\
import click
import seqx
import seqx_training


class Broken(seqx.Schedule):
    def __call__(self, step, steps):
        return self.inner(step)

    def inner(self, step):
        return divided(step)


class Heir(Broken):
    """A subclass that is not registered itself."""


class Misused(seqx.Schedule):
    def __call__(self, step, steps):
        return seqx_training.InverseSquareRoot(warmup=4, peak=1e-3)("two", steps)


def divided(step):
    return step / 0


@click.command()
def stumble():
    """Stumble."""
    seqx.rows(object(), [0])


@click.command()
def stop():
    """Stop."""
    raise click.UsageError("no such thing")


class Forgetful(seqx.Slots):
    """Slots whose constructor does not call that of the interface."""

    def __init__(self):
        pass

    step = reorder = release = fill = None


@seqx.hookimpl
def seqx_register(registry):
    registry.add(seqx.Schedule, broken=Broken, misused=Misused)
'''


@pytest.fixture
def outsider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Simulate an installed external plugin: write its module and its metadata."""
    (tmp_path / "outsider.py").write_text(OUTSIDER)
    info = tmp_path / "seqx_outsider-2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.4\nName: seqx-outsider\nVersion: 2.0\n")
    commands = "[seqx.commands]\nstumble = outsider:stumble\nstop = outsider:stop\n"
    (info / "entry_points.txt").write_text(f"[seqx]\noutside = outsider\n{commands}")
    monkeypatch.syspath_prepend(tmp_path)
    yield import_module("outsider")
    del sys.modules["outsider"]


def message_of(run: Callable[[], object]) -> str | None:
    """Return the message about the error that a function raises."""
    try:
        run()
    except Exception as error:  # noqa: BLE001
        return message_naming_plugin(error)
    raise AssertionError("no error was raised")


@pytest.mark.parametrize("name", ["Broken", "Heir"])
def test_an_error_in_a_function_names_the_calling_component(outsider: ModuleType, name: str) -> None:
    schedule = getattr(outsider, name)()
    assert message_of(lambda: schedule(3, 9)) == (
        f"{outsider.__file__}:24: plugin 'outside' (seqx-outsider 2.0), Schedule 'broken': "
        "ZeroDivisionError: division by zero; `seqx --debug` shows the traceback"
    )


def test_an_error_in_an_included_plugin_also_names_the_external_caller(outsider: ModuleType) -> None:
    message = message_of(lambda: outsider.Misused()(1, 9))
    assert message is not None
    assert (
        f"plugin 'training' (seqx-toolkit {seqx.__version__}), Schedule 'inverse_square_root': TypeError: "
        in message
    )
    assert (
        f"(called by {outsider.__file__}:20: plugin 'outside' (seqx-outsider 2.0), Schedule 'misused')"
        in message
    )


def test_an_error_without_external_plugin_has_no_message(outsider: ModuleType) -> None:
    included = import_module("seqx_training").InverseSquareRoot(warmup=4, peak=1e-3)
    assert message_of(lambda: included("two", 9)) is None
    assert message_of(lambda: 1 / 0) is None


def test_message_names_the_plugin_whose_object_lacks_an_attribute_of_its_base_class(
    outsider: ModuleType,
) -> None:
    """`Slots.__init__` sets `occupied`, and a search of seqx reads it."""
    message = message_of(lambda: outsider.Forgetful().occupied)
    assert message == (
        f"{outsider.__file__}:39: plugin 'outside' (seqx-outsider 2.0): 'Forgetful' object has no attribute "
        "'occupied'; if a method of a base class sets it, call super().METHOD(...) where the plugin "
        "overrides that method; `seqx --debug` shows the traceback"
    )


def test_message_names_the_plugin_that_raised_the_cause(outsider: ModuleType) -> None:
    def compiled() -> None:
        try:
            outsider.divided(1)
        except ZeroDivisionError as error:
            raise RuntimeError("cannot compile") from error

    message = message_of(compiled)
    assert message is not None
    assert message.startswith(
        f"{outsider.__file__}:24: plugin 'outside' (seqx-outsider 2.0): RuntimeError: cannot "
    )


def test_message_names_the_plugin_of_an_error_in_another_process(outsider: ModuleType) -> None:
    def elsewhere() -> None:
        context = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(1, context) as pool:
            pool.submit(outsider.divided, 1).result()

    message = message_of(elsewhere)
    assert message is not None
    assert message.startswith(
        f"{outsider.__file__}:24: plugin 'outside' (seqx-outsider 2.0): ZeroDivisionError: "
    )


def test_a_failing_command_names_its_plugin(outsider: ModuleType) -> None:
    result = CliRunner().invoke(main, ["stumble"])
    assert result.exit_code == 2
    (message,) = result.stderr.splitlines()
    assert message.startswith(
        f"{outsider.__file__}:30: plugin 'outside' (seqx-outsider 2.0): TypeError: a state must be"
    )
    assert "Traceback" in CliRunner().invoke(main, ["--debug", "stumble"]).stderr
    assert "Error: no such thing" in CliRunner().invoke(main, ["stop"]).stderr
