"""Plugins: each loaded on its own, what fails is kept and told; local files; the events of a run."""

import hashlib
import pickle
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from seqx.errors import At, PluginError
from seqx.hooks import events, hookimpl
from seqx.plugins import Plugins, load
from seqx.registry import Registry

KIND = '''
from seqx.hooks import hookimpl

class Kind:
    """A kind."""
'''

GOOD = """
from kind_home import Kind, hookimpl

class Good(Kind):
    def __init__(self, *, rate: float = 1.0) -> None:
        self.rate = rate

@hookimpl
def seqx_register(registry):
    registry.add(Kind, {name}=Good)
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[EntryPoint]]]:
    """Write modules and give them entry points, as an installation would."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    Path("kind_home.py").write_text(KIND)

    def install(**sources: str) -> list[EntryPoint]:
        for name, source in sources.items():
            Path(f"plugin_{name}.py").write_text(source)
        return [EntryPoint(name, f"plugin_{name}", "seqx") for name in sources]

    yield install
    for name in set(sys.modules) - before:
        del sys.modules[name]


def names(plugins: Plugins) -> set[str]:
    return {name for kind in plugins.registry.kinds() for name in plugins.registry.components(kind)}


def test_a_plugin_brings_its_components(installed: Callable[..., list[EntryPoint]]) -> None:
    plugins = load(found=installed(good=GOOD.format(name="x")))
    (plugin,) = plugins.loaded
    assert (plugin.name, plugin.version, plugin.source) == ("good", "unknown", "plugin_good")
    (component,) = plugin.components
    assert component.name == "x"
    assert plugins.of(component) is plugin
    assert plugins.faults == []
    assert plugins.registry.absent == []


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("import nowhere_at_all", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("def broken(:", "SyntaxError: invalid syntax (plugin_bad.py, line 1)"),
        ("x = 1", "registers no component: it has no function seqx_register marked @seqx.hookimpl"),
        (
            "from seqx.hooks import hookimpl\n@hookimpl\ndef seqx_register(registry): pass",
            "registers no component",
        ),
        (
            "from seqx.hooks import hookimpl\n@hookimpl\ndef seqx_regster(registry): pass",
            "there is no hook 'seqx_regster' to implement; did you mean 'seqx_register'?",
        ),
        (
            GOOD.format(name="first") + "    raise OSError('half way')\n",
            "OSError: half way",
        ),
        (
            GOOD.format(name="x"),
            (
                "RegistrationError: plugin_bad.py:4: Kind 'x' already exists, from plugin_a.py:4; "
                "choose another name"
            ),
        ),
        (
            "from seqx.hooks import hookimpl\n@hookimpl\ndef seqx_register(cli): pass",
            "PluginValidationError: Plugin 'bad' for hook 'seqx_register'",
        ),
    ],
)
def test_one_that_fails_takes_nothing_else_down(
    installed: Callable[..., list[EntryPoint]], source: str, error: str
) -> None:
    plugins = load(found=installed(a=GOOD.format(name="x"), bad=source, z=GOOD.format(name="y")))
    (fault,) = plugins.faults
    assert fault.name == "bad"
    assert fault.error.startswith(error)
    assert fault.trace.startswith("Traceback (most recent call last):")
    assert plugins.registry.absent == ["bad"]
    assert names(plugins) == {"x", "y"}


def test_two_plugins_of_one_name(installed: Callable[..., list[EntryPoint]]) -> None:
    (one,) = installed(one=GOOD.format(name="x"))
    (two,) = installed(two=GOOD.format(name="y"))
    plugins = load(found=[one, EntryPoint("one", two.value, "seqx")])
    assert [fault.error for fault in plugins.faults] == [
        "a plugin of plugin_one is called 'one', too; uninstall one of them"
    ]
    assert names(plugins) == {"x"}


AT = At("mine.yaml", 1, 11)


def test_a_local_file(installed: Callable[..., list[EntryPoint]]) -> None:
    installed()
    Path("mine.py").write_text(GOOD.format(name="local"))
    plugins = load({Path("mine.py"): AT}, found=[])
    (plugin,) = plugins.loaded
    assert plugin.name == "mine.py"
    assert plugin.sha256 == hashlib.sha256(Path("mine.py").read_bytes()).hexdigest()
    assert names(plugins) == {"local"}
    made = plugin.components[0].maker(rate=2.0)
    assert pickle.loads(pickle.dumps(made)).rate == 2.0


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        ("none.py", None, "mine.yaml:1:11: cannot read the plugin none.py: No such file or directory"),
        (
            "bad.py",
            "import json\n\n1 / 0\n",
            (
                "mine.yaml:1:11: the plugin bad.py does not load: ZeroDivisionError: division by zero "
                "(bad.py:3); `seqx --debug` shows the traceback"
            ),
        ),
        (
            "deep.py",
            "import json\n\ndef read():\n    return json.loads('')\n\nread()\n",
            (
                "mine.yaml:1:11: the plugin deep.py does not load: JSONDecodeError: Expecting value: "
                "line 1 column 1 (char 0) (deep.py:4); `seqx --debug`"
            ),
        ),
        (
            "hook.py",
            "from seqx import hookimpl\n@hookimpl\ndef seqx_register(registry):\n    raise OSError('no')",
            "mine.yaml:1:11: the plugin hook.py does not load: OSError: no (hook.py:4); `seqx --debug`",
        ),
        (
            "syntax.py",
            "x = 1\ndef broken(:\n",
            (
                "mine.yaml:1:11: the plugin syntax.py does not load: SyntaxError: invalid syntax "
                "(syntax.py, line 2); `seqx --debug`"
            ),
        ),
        ("empty.py", "", "mine.yaml:1:11: the plugin empty.py does not load: registers no component"),
        ("text.txt", "", "mine.yaml:1:11: the plugin text.txt does not load: a local plugin is a file of Py"),
    ],
)
def test_a_local_file_that_fails_is_an_error(
    installed: Callable[..., list[EntryPoint]], name: str, source: str | None, message: str
) -> None:
    installed()
    if source is not None:
        Path(name).write_text(source)
    with pytest.raises(PluginError) as caught:
        load({Path(name): AT}, found=[])
    assert str(caught.value).startswith(message)
    assert "seqx_local_bad" not in sys.modules
    assert ("--debug" in str(caught.value)) == ("Error: " in message)


def test_what_is_installed_here_loads() -> None:
    plugins = load()
    assert plugins.faults == []
    assert isinstance(plugins.registry, Registry)


class Listener:
    def __init__(self, heard: list[str], name: str) -> None:
        self.heard, self.name = heard, name

    @hookimpl
    def started(self) -> None:
        self.heard.append(f"{self.name} started")

    @hookimpl
    def updated(self, update: int) -> None:
        self.heard.append(f"{self.name} {update}")


def test_callbacks_hear_events_in_their_order() -> None:
    heard: list[str] = []
    relay = events([Listener(heard, "a"), Listener(heard, "b")])
    relay.started(run=None)
    relay.updated(run=None, update=3)
    relay.finished(run=None, scores={})
    assert heard == ["a started", "b started", "a 3", "b 3"]


class Deaf:
    def started(self) -> None:
        """An event that is not marked."""


class Misspelt:
    @hookimpl
    def start(self) -> None:
        """No such event."""


class Greedy:
    @hookimpl
    def started(self, model: object) -> None:
        """No such argument."""


@pytest.mark.parametrize(
    ("callback", "message"),
    [
        (Deaf, "callback Deaf has no event marked @seqx.hookimpl"),
        (Misspelt, "callback Misspelt: unknown hook 'start'"),
        (Greedy, "callback Greedy: Plugin 'Greedy"),
    ],
)
def test_a_callback_that_would_never_hear_anything(callback: type, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        events([callback()])
