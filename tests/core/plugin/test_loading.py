"""Plugins are found and loaded; one that fails does not affect others."""

import hashlib
import importlib
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import Distribution, EntryPoint
from pathlib import Path

import pytest

from seqx import __version__
from seqx.errors import Location, PluginError
from seqx.plugin.loading import Plugins, load_plugins
from seqx.plugin.registry import Registry

KIND = '''
from seqx.plugin.hooks import hookimpl

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
    return {name for kind in plugins.registry.interfaces() for name in plugins.registry.components(kind)}


def test_a_plugin_registers_its_components(installed: Callable[..., list[EntryPoint]]) -> None:
    plugins = load_plugins(found=installed(good=GOOD.format(name="x")))
    (plugin,) = plugins.loaded
    assert (plugin.name, plugin.version, plugin.source) == ("good", "unknown", "plugin_good")
    (component,) = plugin.components
    assert component.name == "x"
    assert plugins.of(component) is plugin
    assert plugins.faults == []
    assert plugins.registry.failed_plugins == []


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("import nowhere_at_all", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("raise RuntimeError('one\\n\\n  two')", "RuntimeError: one two ("),
        ("def broken(:", "SyntaxError: invalid syntax (plugin_bad.py, line 1)"),
        ("x = 1", "registers no component: it has no function seqx_register that is marked @seqx.hookimpl"),
        (
            "from seqx.plugin.hooks import hookimpl\n@hookimpl\ndef seqx_register(registry): pass",
            "registers no component",
        ),
        (
            "from seqx.plugin.hooks import hookimpl\n@hookimpl\ndef seqx_regster(registry): pass",
            "plugin_bad.py:2: no hook is called 'seqx_regster'; did you mean 'seqx_register'?",
        ),
        (
            GOOD.format(name="first") + "    raise OSError('half way')\n",
            "OSError: half way",
        ),
        (
            GOOD.format(name="x"),
            ("plugin_bad.py:4: Kind 'x' already exists, from plugin 'a', plugin_a.py:4; choose another name"),
        ),
        (
            "from seqx.plugin.hooks import hookimpl\n@hookimpl\ndef seqx_register(cli): pass",
            "plugin_bad.py:2: seqx_register takes cli, but this hook has only the arguments registry",
        ),
        (
            "from seqx.plugin.hooks import hookimpl\n@hookimpl\ndef updated(update): pass",
            (
                "plugin_bad.py:2: no hook is called 'updated'; updated is an event: implement it as a "
                "method of a seqx.Callback"
            ),
        ),
        (
            "from seqx.plugin.hooks import hookimpl\n@hookimpl\ndef commands(): pass",
            "plugin_bad.py:2: no hook is called 'commands'; there are seqx_html, seqx_register",
        ),
        (
            GOOD.format(name="bad").replace(": float", ""),
            "plugin_bad.py:4: setting 'rate' needs a type annotation",
        ),
        (
            GOOD.format(name="bad").replace("*, ", ""),
            "plugin_bad.py:4: the positional parameters of every Kind are (), but those of bad are (rate",
        ),
        (
            GOOD.format(name="bad").replace("class Good(Kind)", "class Good"),
            "plugin_bad.py:4: bad is not a subclass of Kind; derive it from that class",
        ),
        (
            "from abc import abstractmethod\n"
            + GOOD.format(name="bad")
            .replace("(Kind):", "(Kind, metaclass=__import__('abc').ABCMeta):")
            .replace("    def __init__", "    @abstractmethod\n    def make(self): ...\n    def __init__"),
            "plugin_bad.py:5: bad must implement make, like every Kind",
        ),
        (
            (
                "from seqx import hookimpl, PluginError\n@hookimpl\ndef seqx_register(registry):\n"
                "    raise PluginError('needs a GPU; use it on a machine that has one')"
            ),
            "needs a GPU; use it on a machine that has one",
        ),
    ],
)
def test_a_plugin_that_fails_does_not_affect_others(
    installed: Callable[..., list[EntryPoint]], source: str, error: str
) -> None:
    plugins = load_plugins(found=installed(a=GOOD.format(name="x"), bad=source, z=GOOD.format(name="y")))
    (fault,) = plugins.faults
    assert fault.name == "bad"
    assert fault.error.startswith(error)
    assert "\n" not in fault.error
    assert fault.trace.startswith("Traceback (most recent call last):")
    assert plugins.registry.failed_plugins == ["bad"]
    assert names(plugins) == {"x", "y"}


def test_a_reloaded_plugin_is_inspected_again(installed: Callable[..., list[EntryPoint]]) -> None:
    (entry,) = entries = installed(one=GOOD.format(name="one"))
    before, again = load_plugins(found=entries), load_plugins(found=entries)
    assert before.loaded[0].components[0] is again.loaded[0].components[0]
    Path("plugin_one.py").write_text(GOOD.format(name="another"))
    importlib.reload(entry.load())
    assert names(load_plugins(found=entries)) == {"another"}
    assert names(before) == {"one"}


def test_components_of_a_reloaded_module_are_inspected_again(
    installed: Callable[..., list[EntryPoint]],
) -> None:
    layers = Path("plugin_layers.py")
    layers.write_text("from kind_home import Kind\n\nclass Good(Kind):\n    pass\n")
    entries = installed(
        lazy="""
from kind_home import Kind, hookimpl

@hookimpl
def seqx_register(registry):
    from plugin_layers import Good
    registry.add(Kind, good=Good)
"""
    )
    assert not load_plugins(found=entries).loaded[0].components[0].settings
    layers.write_text(f"{layers.read_text()}\n    def __init__(self, *, rate: float = 1.0) -> None: ...\n")
    importlib.reload(sys.modules["plugin_layers"])
    assert list(load_plugins(found=entries).loaded[0].components[0].settings) == ["rate"]


def test_second_plugin_with_the_same_name_is_a_fault(installed: Callable[..., list[EntryPoint]]) -> None:
    (one,) = installed(one=GOOD.format(name="x"))
    (two,) = installed(two=GOOD.format(name="y"))
    plugins = load_plugins(found=[one, EntryPoint("one", two.value, "seqx")])
    assert [fault.error for fault in plugins.faults] == [
        "a plugin of plugin_one is also called 'one'; uninstall one of them"
    ]
    assert names(plugins) == {"x"}


def test_a_failed_import_is_reported_with_its_line(installed: Callable[..., list[EntryPoint]]) -> None:
    (fault,) = load_plugins(found=installed(bad="import json\n\njson.loads('')\n")).faults
    file = Path("plugin_bad.py").resolve()
    assert fault.error.endswith(f"(char 0) ({file}:3); `seqx --debug plugins` shows the traceback")


def test_a_taken_component_name_reports_both_plugins(installed: Callable[..., list[EntryPoint]]) -> None:
    plugins = load_plugins(found=installed(one=GOOD.format(name="x"), two=GOOD.format(name="x")))
    assert [fault.error for fault in plugins.faults] == [
        "plugin_two.py:4: Kind 'x' already exists, from plugin 'one', plugin_one.py:4; choose another name"
    ]


def entry_of(folder: Path, *requires: str) -> EntryPoint:
    """Return the entry point of a distribution that requires these packages."""
    info = folder / "outsider-2.0.dist-info"
    info.mkdir()
    lines = ["Metadata-Version: 2.4", "Name: outsider", "Version: 2.0"]
    (info / "METADATA").write_text("\n".join([*lines, *(f"Requires-Dist: {line}" for line in requires)]))
    (info / "entry_points.txt").write_text("[seqx]\ngood = plugin_good\n")
    (entry,) = Distribution.at(info).entry_points
    return entry


@pytest.mark.parametrize("needed", ["seqx-toolkit>=99", "torch; python_version < '3'|seqx_toolkit~=99.0"])
def test_a_plugin_for_another_version_is_not_imported(
    installed: Callable[..., list[EntryPoint]], tmp_path: Path, needed: str
) -> None:
    installed(good="raise AssertionError")
    requires = needed.split("|")
    (fault,) = load_plugins(found=[entry_of(tmp_path, *requires)]).faults
    assert fault.error == (
        f"outsider 2.0 needs {requires[-1].replace('_', '-')}, and this is seqx-toolkit {__version__}; "
        "install that version of seqx, or another version of outsider"
    )
    assert "plugin_good" not in sys.modules


def test_an_invalid_dependency_is_reported(
    installed: Callable[..., list[EntryPoint]], tmp_path: Path
) -> None:
    installed(good=GOOD.format(name="x"))
    (fault,) = load_plugins(found=[entry_of(tmp_path, "seqx-toolkit (>=0")]).faults
    assert fault.error.startswith("outsider: its metadata has an invalid dependency, 'seqx-toolkit (>=0' (")
    assert fault.error.count("\n") == 0


def test_a_dependency_on_the_package_seqx_is_reported(
    installed: Callable[..., list[EntryPoint]], tmp_path: Path
) -> None:
    installed(good="raise AssertionError")
    (fault,) = load_plugins(found=[entry_of(tmp_path, "seqx>=0.1.0")]).faults
    assert fault.error == (
        "outsider 2.0 depends on the package 'seqx', which is another project; write seqx-toolkit>=0.1.0 in "
        "`dependencies` of its pyproject.toml, and install it again"
    )


@pytest.mark.parametrize(
    "needed", ["seqx-toolkit", "Seqx.Toolkit>=0.0.1", "seqx-toolkit>=99; extra == 'new'", "nonesuch>=3"]
)
def test_a_plugin_for_this_version_is_loaded(
    installed: Callable[..., list[EntryPoint]], tmp_path: Path, needed: str
) -> None:
    installed(good=GOOD.format(name="x"))
    (plugin,) = load_plugins(found=[entry_of(tmp_path, needed)]).loaded
    assert (plugin.version, plugin.source) == ("2.0", "outsider")


def test_a_plugin_lists_the_interfaces_that_it_defines(installed: Callable[..., list[EntryPoint]]) -> None:
    source = GOOD.format(name="x").replace("(Kind)", "(Own)").replace("registry.add(Kind", "registry.add(Own")
    source = source.replace("class Good", "class Own:\n    pass\n\nclass Good")
    entries = installed(own=source, other=GOOD.format(name="y"))
    interfaces = {plugin.name: plugin.interfaces for plugin in load_plugins(found=entries).loaded}
    assert interfaces == {"own": ["Own"], "other": []}


AT = Location("mine.yaml", 1, 11)


def test_a_local_plugin_runs_the_bytes_that_were_hashed(installed: Callable[..., list[EntryPoint]]) -> None:
    installed()
    file = Path("mine.py")
    for name in "ab":  # of one size, within one tick of the clock: a compiled file would look fresh
        file.write_text(GOOD.format(name=name))
        os.utime(file, (1, 1))
        assert names(load_plugins({file: AT}, found=[])) == {name}
    assert not Path("__pycache__/mine.cpython-311.pyc").exists()


def test_a_local_plugin_is_loaded(installed: Callable[..., list[EntryPoint]]) -> None:
    installed()
    Path("mine.py").write_text(GOOD.format(name="local"))
    plugins = load_plugins({Path("mine.py"): AT}, found=[])
    (plugin,) = plugins.loaded
    assert plugin.name == "mine.py"
    assert plugin.sha256 == hashlib.sha256(Path("mine.py").read_bytes()).hexdigest()
    assert names(plugins) == {"local"}
    made = plugin.components[0].maker(rate=2.0)
    assert pickle.loads(pickle.dumps(made)).rate == 2.0


BOUND = """
class Hooks:
    @hookimpl
    def seqx_register(self, registry):
        registry.add(Kind, local=Good)

seqx_register = Hooks().seqx_register
"""


def test_a_hook_may_be_a_marked_method(installed: Callable[..., list[EntryPoint]]) -> None:
    installed()
    Path("mine.py").write_text(GOOD.format(name="local") + BOUND)
    assert names(load_plugins({Path("mine.py"): AT}, found=[])) == {"local"}


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        (
            "none.py",
            None,
            "mine.yaml:1:11: cannot read the plugin none.py: No such file or directory;",
        ),
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
        (
            "text.txt",
            "",
            "mine.yaml:1:11: the plugin text.txt does not load: a local plugin must be a Python",
        ),
    ],
)
def test_a_local_plugin_that_fails_is_an_error(
    installed: Callable[..., list[EntryPoint]], name: str, source: str | None, message: str
) -> None:
    installed()
    if source is not None:
        Path(name).write_text(source)
    with pytest.raises(PluginError) as caught:
        load_plugins({Path(name): AT}, found=[])
    assert str(caught.value).startswith(message)
    assert "seqx_local_bad" not in sys.modules
    assert ("--debug" in str(caught.value)) == ("Error: " in message)


def test_all_installed_plugins_load() -> None:
    plugins = load_plugins()
    assert plugins.faults == []
    assert isinstance(plugins.registry, Registry)


MISSPELT_EVENT = """\
import seqx

class Late(seqx.Callback):
    @seqx.hookimpl
    def updatd(self, update):
        pass

@seqx.hookimpl
def seqx_register(registry):
    registry.add(seqx.Callback, late=Late)
"""


def test_a_callback_with_a_misspelt_event_is_not_registered(
    installed: Callable[..., list[EntryPoint]],
) -> None:
    (fault,) = load_plugins(found=installed(late=MISSPELT_EVENT)).faults
    assert fault.error.endswith("plugin_late.py:4: no hook is called 'updatd'; did you mean 'updated'?")
