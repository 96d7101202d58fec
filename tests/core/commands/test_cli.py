"""The command line starts fast, lists commands and components, and reports user errors in one message."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType, SimpleNamespace
from unittest.mock import Mock

import click
import pytest
from click.testing import CliRunner, Result

import seqx.cli
from seqx.cli import COMMANDS, main
from seqx.interfaces import tensors
from seqx.plugin.hooks import hookimpl
from seqx.plugin.installed import COMMAND_GROUP, entry_point_key
from seqx.plugin.registry import Registry

RECIPE = """\
task: {type: translation, metrics: [bleu]}
model: {type: encoder_decoder, d_model: 16, encoder: {type: stack, layers: 2}}
training: {steps: 100}
"""

Call = Callable[..., Result]
PLUGIN_COMMANDS = {entry.name for entry in entry_points(group=COMMAND_GROUP)}


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sample_plugin: SimpleNamespace
) -> Callable[..., Result]:
    """Run `seqx` in a folder with a recipe, with one plugin for tests and one that fails to load."""

    @hookimpl
    def seqx_register(registry: Registry) -> None:
        for interface in sample_plugin.registry.interfaces():
            known = sample_plugin.registry.components(interface)
            registry.add(interface, **{name: component.maker for name, component in known.items()})

    module = ModuleType("toy_plugin")
    module.seqx_register = seqx_register  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "toy_plugin", module)
    entries = [EntryPoint("toy", "toy_plugin", "seqx"), EntryPoint("bad", "broken_plugin", "seqx")]
    for place in ("seqx.plugin.loading", "seqx.commands.listing_cache"):
        monkeypatch.setattr(f"{place}.entry_points", lambda group: entries if group == "seqx" else [])
    monkeypatch.setattr("seqx.training.description.Experiment", sample_plugin.Experiment)
    # The Experiment of these tests has only `steps`.
    monkeypatch.setattr("seqx.training.preflight._inconsistent_settings", lambda *_: ())
    monkeypatch.setattr("seqx.commands.check.check_vocabulary", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(RECIPE)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, arguments)

    return run


def test_check_counts_parameters(call: Call) -> None:
    result = call("check", "mine.yaml", "model.d_model=32")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"mine.yaml: {10 * 32 + 2 * (32 * 32 + 32):,} parameters\n"


def test_check_reports_every_recipe(call: Call) -> None:
    Path("wrong.yaml").write_text("extends: mine.yaml\nmodle: 3\n")
    Path("heads.yaml").write_text(
        "extends: mine.yaml\nmodel:\n  encoder: {attention: {type: multihead, heads: 5}}\n"
    )
    result = call("check", "wrong.yaml", "mine.yaml", "heads.yaml", "none.yaml")
    assert result.exit_code == 2
    assert result.stdout.startswith("mine.yaml: ")
    assert result.stderr == (
        "wrong.yaml:2:1: recipe: this section has no setting 'modle'; did you mean 'model'?\n"
        "    modle: 3\n    ^\n"
        "heads.yaml:3:49: model.encoder.attention: heads=5 does not divide d_model=16\n"
        f"      encoder: {{attention: {{type: multihead, heads: 5}}}}\n{' ' * 52}^\n"
        "none.yaml:1:1: there is no such file\n"
    )


def test_recipe_path_may_have_an_equals_sign(call: Call) -> None:
    Path("lr=1").mkdir()
    Path("lr=1/mine.yaml").write_text(RECIPE)
    result = call("check", "lr=1/mine.yaml", "model.d_model=32")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("lr=1/mine.yaml: ")


@pytest.mark.parametrize("command", ["check", "show"])
def test_recipe_errors_are_one_message_and_exit_code_2(call: Call, command: str) -> None:
    result = call(command, "mine.yaml", "training.steps=many", "model.encoder=lstm")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr == (
        "model.encoder=lstm: lstm needs 'width' (width of the state)\n"
        "training.steps=many: Input should be a valid integer, found 'many'\n"
    )


@pytest.mark.promise("invalid-folder-names")
@pytest.mark.parametrize(
    "arguments",
    [
        ["translate", "{}"],
        ["check", "{}"],
        ["compare", "{}"],
        ["average", "{}"],
        ["run", "mine.yaml", "--folder", "{}"],
    ],
)
@pytest.mark.parametrize("name", ["a" * 300, "r\udcff"])
def test_invalid_folder_names_are_one_message(call: Call, arguments: list[str], name: str) -> None:
    result = call(*(argument.format(name) for argument in arguments))
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert "a" * 70 in result.stderr or "r\\udcff" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ("run mine.yaml --precision bf16", " Did you mean training.precision=VALUE?"),
        ("check mine.yaml --keep-checkpoints=3", " Did you mean training.keep_checkpoints=VALUE?"),
        ("sweep mine.yaml --steps 3", " Did you mean training.steps=VALUE?"),
        (
            "run mine.yaml --epochs 3",
            " Settings of training are written as training.KEY=VALUE: set steps, the number of updates; ",
        ),
        ("run mine.yaml --layers 3", " Settings are written as KEY=VALUE."),
        ("translate model --size 8", " Settings are written as KEY=VALUE."),
        ("run mine.yaml --devics 2", " Settings are written as KEY=VALUE."),
        ("average runs/mine --precision fp32", ""),
    ],
)
def test_unknown_option_names_the_setting_or_how_settings_are_written(
    call: Call, arguments: str, hint: str
) -> None:
    result = call(*arguments.split())
    assert (result.exit_code, result.stdout) == (2, "")
    (message,) = (line for line in result.stderr.splitlines() if line.startswith("Error: "))
    assert "No such option" in message
    assert hint in message
    assert ("KEY=VALUE" in message or "training." in message) == bool(hint)


def test_messages_have_no_control_characters(call: Call) -> None:
    result = call("translate", "\x1b[2J\r\x9bmodel")
    assert result.exit_code == 2
    assert result.stderr.startswith("\ufffd[2J\ufffd\ufffdmodel: there is no such folder")


def test_debug_shows_the_traceback(call: Call) -> None:
    result = call("--debug", "check", "none.yaml")
    assert result.exit_code == 2
    assert "Traceback" in result.stderr
    assert "FileNotFoundError" in result.stderr


def test_show_prints_a_recipe(call: Call) -> None:
    shown = call("show", "mine.yaml", "training.rate=0.5").stdout
    assert "  rate: 0.5              # command line\n" in shown
    Path("again.yaml").write_text(shown)
    again = call("show", "again.yaml").stdout
    assert [line.split("#")[0] for line in again.splitlines()] == [
        line.split("#")[0] for line in shown.splitlines()
    ]


def test_schema_describes_components(call: Call) -> None:
    result = call("schema")
    assert result.exit_code == 0
    assert '"title": "multihead"' in result.stdout


def test_plugins_are_listed_with_components_and_errors(call: Call) -> None:
    result = call("plugins")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "toy unknown, from toy_plugin",
        "  Positions: rotary",
        "  Attention: multihead, additive",
        "  Encoder: stack, lstm",
        "  Model: encoder_decoder",
        "  Metric: bleu, chrf",
        "  Task: translation",
        "bad unknown, from broken_plugin: did not load",
        "  ModuleNotFoundError: No module named 'broken_plugin'; `seqx --debug plugins` shows the traceback",
        *(
            f"command {name}, from seqx-toolkit, whose package has no loaded components"
            for name in sorted(PLUGIN_COMMANDS)
        ),
    ]
    assert "Traceback" in call("--debug", "plugins").stdout


def test_plugins_are_listed_as_json(call: Call) -> None:
    listed = json.loads(call("plugins", "--json").stdout)
    (toy,) = listed["plugins"]
    assert toy["components"]["Encoder"] == ["stack", "lstm"]
    assert (toy["name"], toy["from"], toy["interfaces"], toy["commands"]) == (
        *("toy", "toy_plugin"),
        *([], []),
    )
    (fault,) = listed["faults"]
    assert fault["error"].startswith("ModuleNotFoundError: No module named 'broken_plugin'")
    assert "traceback" not in fault
    assert "Traceback" in json.loads(call("--debug", "plugins", "--json").stdout)["faults"][0]["traceback"]
    assert listed["commands"]["translate"] == "seqx-toolkit"


def test_failed_plugin_affects_only_recipes_that_need_it(call: Call) -> None:
    assert call("check", "mine.yaml").exit_code == 0
    result = call("check", "mine.yaml", "model.encoder=kerple")
    assert (
        "no Encoder is called 'kerple'; there are stack, lstm (these plugins failed to load: 'bad';"
        in result.stderr
    )


def test_components_lists_interfaces_components_and_settings(call: Call) -> None:
    assert "Attention: multihead, additive\n" in call("components").stdout
    assert call("components", "attention").stdout == (
        "Attention: An attention module.\n\n"
        "multihead  Multi-head attention.\n"
        "additive   Additive attention.\n"
    )
    lines = call("components", "Encoder", "stack").stdout.splitlines()
    assert lines[0] == "A stack of attention layers."
    assert lines[1].endswith(", plugin toy")
    assert lines[3:] == [
        "layers: int > 0 (default 6)",
        "    number of layers",
        "attention: Attention or list of Attention (default MultiHead)",
        "    attention of all layers, or a list with one for each layer",
        "positions: Positions or null (default null)",
        "    positional encoding; null: none",
        "dropout: float >= 0 and < 1 (default 0.1)",
        "    probability of dropout",
    ]
    assert "share: 'all' or 'none' (default none)\n" in call("components", "model", "encoder_decoder").stdout
    result = call("components", "encoder", "stock")
    assert (result.exit_code, result.stderr) == (2, "no Encoder is called 'stock'; did you mean 'stack'?\n")
    result = call("components", "encoder", "mamba")
    assert result.stderr == (
        "no Encoder is called 'mamba'; there are stack, lstm; --recipe RECIPE includes the plugins of a "
        "recipe\n"
    )
    result = call("components", "encodr")
    assert (result.exit_code, result.stderr) == (
        2,
        "no interface is called 'encodr'; did you mean 'Encoder'?\n",
    )


def test_unknown_command_suggests_the_most_similar(call: Call) -> None:
    result = call("chek")
    assert result.exit_code == 2
    assert "there is no command 'chek'; did you mean 'check'?" in result.stderr
    assert "see `seqx --help`" in call("zzz").stderr


def test_help_of_each_command_begins_as_in_the_list() -> None:
    group = seqx.cli.CommandGroup()
    for name, (_, text) in COMMANDS.items():
        command = group.get_command(click.Context(group), name)
        assert command is not None
        assert (command.help or "").partition("\n")[0] == text, name


IMPORTED_MODULES_SCRIPT = """
import sys
from seqx.cli import main
try:
    main(["--help"], prog_name="seqx")
except SystemExit:
    pass
loaded = {name.partition(".")[0] for name in sys.modules}
heavy = {"torch", "pydantic", "numpy", "pluggy", "yaml", "rich"}
print(sorted(name for name in loaded if name in heavy or name.startswith("seqx_") and name != "seqx_toolkit"))
"""


def test_help_imports_neither_torch_nor_a_plugin() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED_MODULES_SCRIPT], capture_output=True, text=True, check=True
    )
    *help_text, unwanted = done.stdout.splitlines()
    assert unwanted == "[]"
    assert any(line.startswith("  check ") for line in help_text)


def test_public_names_are_imported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(vars(seqx), "BOS", raising=False)
    imported = Mock(return_value=tensors)
    monkeypatch.setattr("importlib.import_module", imported)
    assert [seqx.BOS, seqx.BOS] == [tensors.BOS, tensors.BOS]
    imported.assert_called_once_with("seqx.interfaces.tensors")


def test_help_is_fast() -> None:
    seconds = []
    for _ in range(3):
        start = os.times()
        subprocess.run([sys.executable, "-m", "seqx", "--help"], capture_output=True, check=True)
        end = os.times()
        seconds.append(end.children_user + end.children_system - start.children_user - start.children_system)
    assert (
        0 < min(seconds) < 0.6
    )  # of CPU; 0.1 s on an idle machine; importing torch alone takes over a second


def test_version_is_printed() -> None:
    result = CliRunner().invoke(main, ["--version"], prog_name="seqx")
    assert result.output == f"seqx {seqx.__version__}\n"


COMMAND_SOURCE = '''
import click
raise_when_imported = 1 / {divisor}

@click.command()
def greet() -> None:
    """Greets.

    At length.
    """
    click.echo("good day")
'''


@pytest.fixture
def install_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return a function that installs a command of a plugin; with divisor 0 its import fails."""

    def install(divisor: int, name: str = "greet") -> None:
        folder = tmp_path / f"toy_commands_{divisor}"
        folder.mkdir()
        (folder / "__init__.py").write_text("")
        (folder / "greeting.py").write_text(COMMAND_SOURCE.format(divisor=divisor))
        monkeypatch.syspath_prepend(tmp_path)
        entry = EntryPoint(name, f"toy_commands_{divisor}.greeting:greet", "seqx.commands")
        monkeypatch.setattr(
            "seqx.cli.entry_points", lambda group: [entry] if group == "seqx.commands" else []
        )

    return install


def test_plugin_command_is_listed_without_being_imported(install_command: Callable[[int], None]) -> None:
    install_command(0)
    result = CliRunner().invoke(main, ["--help"])
    assert "Commands of plugins:\n  greet  Greets.\n" in result.output
    result = CliRunner().invoke(main, ["greet"])
    assert result.exit_code == 2
    assert result.stderr == (
        "greet: this command of toy_commands_0.greeting:greet does not load: "
        "ZeroDivisionError: division by zero\n"
    )


def test_plugin_command_runs(install_command: Callable[[int], None]) -> None:
    install_command(1)
    assert CliRunner().invoke(main, ["greet"]).output == "good day\n"


@pytest.mark.parametrize("name", ["check", "translate"])
def test_plugin_cannot_replace_a_command_of_seqx(
    install_command: Callable[..., None], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = CliRunner().invoke(main, [name, "--help"]).output
    own = entry_points(group="seqx.commands")
    install_command(2, name)
    (entry,) = vars(seqx.cli)["entry_points"](group="seqx.commands")
    monkeypatch.setattr("seqx.cli.entry_points", lambda group: sorted([entry, *own], key=entry_point_key))
    assert CliRunner().invoke(main, [name, "--help"]).output == before
    assert "Greets" not in CliRunner().invoke(main, ["--help"]).output
    output = CliRunner().invoke(main, ["plugins"]).output
    source = "toy_commands_2.greeting:greet"
    assert (
        f"command {name}, from {source}, is ignored: seqx has a command of this name; uninstall it" in output
    )


def test_command_of_two_plugins_is_refused(
    install_command: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    install_command(2)
    (entry,) = vars(seqx.cli)["entry_points"](group="seqx.commands")
    monkeypatch.setattr("seqx.cli.entry_points", lambda group: [entry, entry])
    result = CliRunner().invoke(main, ["greet"])
    assert result.exit_code == 2
    assert result.stderr.startswith("greet: several plugins have a command of this name: toy_commands_2.gr")
    assert result.stderr.endswith("; uninstall all but one\n")


def commands_with_arguments() -> list[str]:
    """Return the commands that cannot be called without arguments."""
    context = click.Context(main)
    commands = {name: main.get_command(context, name) for name in main.list_commands(context)}
    required = [name for name, each in commands.items() if each and any(p.required for p in each.params)]
    return [*required, "serve"]


@pytest.mark.parametrize("name", commands_with_arguments())
def test_command_without_arguments_names_them_and_prints_an_example(name: str) -> None:
    result = CliRunner().invoke(main, [name])
    assert result.exit_code == 2
    assert f"Usage: main {name} " in result.stderr
    assert f"Example: seqx {name} " in result.stderr


def test_command_of_another_plugin_without_an_example_names_its_arguments(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @click.command()
    @click.argument("file")
    def mine(file: str) -> None:
        """Do nothing."""

    entry = SimpleNamespace(name="mine", dist=None, value="mine:mine", load=lambda: mine)
    monkeypatch.setattr("seqx.cli.plugin_commands", lambda: ({"mine": [entry]}, []))
    result = CliRunner().invoke(main, ["mine"])
    assert result.stderr.endswith("Error: Missing argument 'FILE'.\n")
