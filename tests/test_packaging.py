"""The wheel can be built and installed, and works without a checkout."""

import os
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

from tests.docs import command_server

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel that is built from this checkout."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a folder in which only seqx is installed; a server runs its commands from another folder."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile"]
    subprocess.run([*pip, "--target", str(folder), str(wheel)], check=True, capture_output=True)
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    commands = folder.parent / "commands of installed"
    with command_server.start(commands, python=sys.executable, environment=environment):
        yield folder


def seqx(installed: Path, *arguments: str) -> str:
    """Return the output of the installed command, run from another folder."""
    done = subprocess.run(
        [installed.parent / "commands of installed" / "seqx", *arguments],
        cwd=installed.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_wheel_has_all_packages_and_recipes_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    plugins = {path.parent.name for path in ROOT.glob("plugins/*/__init__.py")}
    assert tops == {
        "seqx",
        *plugins,
        "seqx_toolkit.py",
        f"seqx_toolkit-{PYPROJECT['project']['version']}.dist-info",
    }
    recipes = {f"seqx/{path.relative_to(ROOT)}" for path in ROOT.glob("recipes/**/*.yaml")}
    assert {"seqx/recipes/wmt_en_de.yaml", "seqx/recipes/table3/base.yaml"} <= recipes
    assert recipes | {"seqx/recipes/schema.json"} <= set(names)
    modules = {str(path.relative_to(ROOT / "plugins")) for path in ROOT.glob("plugins/**/*.py")}
    modules |= {str(path.relative_to(ROOT)) for path in (*ROOT.glob("seqx/**/*.py"), *ROOT.glob("*.py"))}
    assert {"seqx_parsing/evalb/metric.py", "seqx_parsing/treebanks/penn.py"} <= modules
    assert modules == {name for name in names if name.endswith(".py")}
    assert {"seqx_sample/nouns.txt"} <= set(names)
    assert {f"{package}/py.typed" for package in ("seqx", *plugins)} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_installed_plugins_and_recipes_are_found(installed: Path) -> None:
    listed = seqx(installed, "plugins")
    for name in PYPROJECT["project"]["entry-points"]["seqx"]:
        assert f"\n{name} " in f"\n{listed}"
    assert "did not load" not in listed
    shown = seqx(installed, "show", "wmt_en_de")
    assert f"{installed.name}/seqx/recipes/wmt_en_de.yaml" in shown
    shown = seqx(installed, "show", "table3/C_layers_2", "--profile", "multi30k")
    assert f"{installed.name}/seqx/recipes/table3/C_layers_2.yaml" in shown


def test_every_plugin_is_declared_in_pyproject() -> None:
    plugins = sorted(path.parent.name for path in ROOT.glob("plugins/*/__init__.py"))
    tool = PYPROJECT["tool"]
    entry_points = PYPROJECT["project"]["entry-points"]
    with_commands = {entry.partition(".")[0] for entry in entry_points["seqx.commands"].values()}
    assert sorted({*entry_points["seqx"].values(), *with_commands}) == plugins
    packages = tool["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert sorted(packages) == sorted(["seqx", *(f"plugins/{name}" for name in plugins)])
    assert sorted(tool["importlinter"]["root_packages"]) == sorted(["seqx", *plugins])
    for contract in tool["importlinter"]["contracts"]:
        for key in ("modules", "source_modules", "forbidden_modules"):
            if contract.get(key, ["seqx"])[0].startswith("seqx_"):
                assert sorted(contract[key]) == plugins, contract["name"]


def test_every_dependency_has_a_constraint() -> None:
    project = PYPROJECT["project"]
    requirements = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    requirements += PYPROJECT["build-system"]["requires"]
    pinned = {
        line.partition("==")[0].lower()
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    }
    names = {name.split("[")[0].split(">")[0].lower() for name in requirements} - {"seqx-toolkit"}
    assert names - pinned == set()
