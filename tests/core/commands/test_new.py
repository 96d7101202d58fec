"""`seqx new` writes plugins that pass their tests and linters, and refuses unusable names."""

import contextlib
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from seqx.commands.templates import COMMAND, INTERFACES, PLACEHOLDER, RECIPES
from tests.stories.tiny import done, refused

NAMES = {interface: f"zz_{interface}" for interface in INTERFACES}


@pytest.fixture(scope="module")
def new_plugins(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Write a plugin for each interface."""
    folder = tmp_path_factory.mktemp("plugins")
    with contextlib.chdir(folder):
        for interface, name in NAMES.items():
            output = done("new", name, "--interface", interface).splitlines()
            assert output[0].startswith(f"seqx-{name}: plugin {name}, with a com")
            assert output[1] == f"  cd seqx-{name}"
    return [folder / f"seqx-{name}" for name in NAMES.values()]


def test_new_plugin_has_all_files_and_no_placeholder(new_plugins: list[Path]) -> None:
    for folder, (interface, name) in zip(new_plugins, NAMES.items(), strict=True):
        files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
        recipe = [f"recipes/{name}.yaml"] if interface in RECIPES else []
        test = f"tests/test_{'command' if interface == COMMAND else 'laws'}.py"
        package = [f"seqx_{name}/__init__.py", f"seqx_{name}/py.typed"]
        assert sorted(files) == sorted(["README.md", "pyproject.toml", *recipe, *package, test])
        assert not [file for file, path in files.items() if PLACEHOLDER in path.read_text().lower()]
        project = tomllib.loads(files["pyproject.toml"].read_text())["project"]
        (requirement,) = map(Requirement, project["dependencies"])
        assert requirement.specifier.contains(version("seqx-toolkit"))


@pytest.mark.parametrize("command", [["check", "--no-cache"], ["format", "--check", "--no-cache"]])
def test_new_plugin_passes_its_own_linter(new_plugins: list[Path], command: list[str]) -> None:
    ruff = [sys.executable, "-m", "ruff", *command]
    cwd = new_plugins[0].parent  # each folder has its own settings
    result = subprocess.run(ruff, cwd=cwd, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Mine", "; for example, 'mine' is valid"),
        ("my-own", "; for example, 'my_own' is valid"),
        ("2nd", "; for example, 'nd' is valid"),
        ("../mine", "; for example, 'mine' is valid"),
        ("mine_", "; for example, 'mine' is valid"),
        ("class", " nor seqx\n"),
        ("true", " nor seqx\n"),
        ("null", " nor seqx\n"),
        ("seqx", " nor seqx\n"),
        ("f", " nor seqx\n"),
        ("ä", " nor seqx\n"),
        ("a" * 41, " nor seqx\n"),
    ],
)
def test_invalid_plugin_names_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    output = refused("new", name)
    assert output.startswith(f"{name!r} cannot be the name of a plugin: it needs 2 to 40 lowercase letters")
    assert output.endswith(message if message.endswith("\n") else f"{message}\n")
    assert output.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_existing_folder_is_not_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("seqx-mine").mkdir()
    Path("broken").symlink_to("nowhere")
    assert refused("new", "mine") == ("seqx-mine: exists already; choose another name, or another --folder\n")
    assert refused("new", "mine", "--folder", "broken").startswith(
        "broken: exists already; remove it, or choose another --folder"
    )
    assert not list(Path("seqx-mine").iterdir())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "transformer",
            "a plugin called 'transformer' is installed, from seqx-toolkit; choose another name\n",
        ),
        ("alibi", "plugin 'transformer' has a PositionalEncoding called 'alibi'; choose another name\n"),
        ("elsewhere", "a package called seqx_elsewhere is installed; choose another name\n"),
    ],
)
def test_names_that_are_in_use_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    (tmp_path / "seqx_elsewhere.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert refused("new", name) == message
    assert not Path(f"seqx-{name}").exists()


@pytest.mark.parametrize("start", [["new"], ["new", "component"]])
def test_new_recognises_swapped_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    message = "there is no interface 'nearest'; did you mean `seqx new attention nearest`?\n"
    assert refused(*start, "nearest", "attention").endswith(message)
    assert "did you mean 'attention'?" in refused(*start, "atention", "nearest")
    assert not list(tmp_path.iterdir())
