"""External plugins are built and installed with seqx in a new environment; their tests and recipes run."""

import json
import os
import re
import shutil
import site
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterable, Iterator
from configparser import ConfigParser
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from seqx.cli import main
from tests import forked
from tests.docs import command_server

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("seqx-*"))
NEW_PLUGIN = "qknorm"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Environment:
    """A virtual environment with seqx and the plugins; their dependencies are those of this environment."""

    folder: Path
    sources: dict[str, Path]

    def run(self, *command: str, text: str | None = None) -> str:
        """Return the output of a command that runs in a fork of the environment's server."""
        return self.run_from("commands", *command, text=text)

    def run_from(self, programs: str, *command: str, text: str | None = None) -> str:
        """Return the output of a command, run outside of the checkout.

        Args:
            programs: the folder of the command: "bin" for the installed one
            command: the command and its arguments
            text: the standard input
        """
        done = subprocess.run(
            [str(self.folder / programs / command[0]), *command[1:]],
            cwd=self.folder,
            env=self.variables,
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @property
    def variables(self) -> dict[str, str]:
        """Return the environment variables of the commands."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        return {**kept, "SEQX_CACHE": str(self.folder / "cache"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """Build seqx, the examples and a new plugin from their sources, and install them without a network."""
    folder = tmp_path_factory.mktemp("environment")
    sources = {path.name: path for path in EXAMPLES}
    new_plugin = folder / "new_plugin"
    result = CliRunner().invoke(main, ["new", NEW_PLUGIN, "--folder", str(new_plugin)])
    assert result.exit_code == 0, result.output
    sources[f"seqx-{NEW_PLUGIN}"] = new_plugin
    for source in (ROOT, *sources.values()):
        build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
        built = forked.run(*build, "--directory", folder / "wheels", cwd=source)
        assert built.returncode == 0, built.stderr
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = str(folder / "bin" / "python")
    wheels = [str(wheel) for wheel in (folder / "wheels").glob("*.whl")]
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-compile"]
    subprocess.run([*pip, "--no-deps", "--no-index", *wheels], check=True, capture_output=True)
    packages = sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)})
    others = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    Path(packages, "dependencies.pth").write_text(
        "\n".join(dict.fromkeys([*site.getsitepackages(), *others])) + "\n", encoding="utf-8"
    )
    made = Environment(folder, sources)
    with command_server.start(folder / "commands", python=python, environment=made.variables):
        yield made


def test_external_plugins_are_listed_with_their_components_and_commands(environment: Environment) -> None:
    listed = json.loads(environment.run_from("bin", "seqx", "plugins", "--json"))
    assert listed["faults"] == []
    plugins = {plugin["name"]: plugin for plugin in listed["plugins"]}
    assert plugins["kerple"]["components"] == {"PositionalEncoding": ["kerple", "kerple_power"]}
    assert plugins["spelling"]["commands"] == ["spell"]
    assert plugins["spelling"]["from"] == "seqx-spelling"
    assert plugins["tones"]["components"]["Task"] == ["tones"]
    assert plugins["local_sgd"]["components"] == {"Parallelism": ["local_sgd"]}
    assert plugins["lora"]["components"] == {"Optimizer": ["lora"]}
    assert plugins[NEW_PLUGIN]["components"] == {"Attention": [NEW_PLUGIN]}
    inside = str(environment.folder.resolve())
    assert all(plugin["path"].startswith(inside) for plugin in plugins.values())
    assert "  spell      " in environment.run("seqx", "--help")


def test_tests_of_external_plugins_pass(environment: Environment) -> None:
    folders = [str(source / "tests") for source in environment.sources.values()]
    options = ["-v", "-p", "no:cacheprovider", "--import-mode=importlib", "--rootdir", "/", "-c", "/dev/null"]
    output = environment.run("pytest", *options, *folders)
    for folder in folders:
        tests = "/".join(Path(folder).parts[-2:])
        assert re.search(rf"(^|/){re.escape(tests)}/\S+::.+ PASSED", output, re.MULTILINE), folder


@pytest.mark.parametrize(
    ("recipe", "profile"),
    [
        ("seqx-kerple/recipes/kerple.yaml", ["--profile", "sample"]),
        (f"seqx-{NEW_PLUGIN}/recipes/{NEW_PLUGIN}.yaml", []),
    ],
)
def test_recipes_of_external_plugins_train_and_translate(
    environment: Environment, recipe: str, profile: list[str]
) -> None:
    name, _, path = recipe.partition("/")
    tiny = ["training.steps=2", "training.tokens=200", "training.save_every=1", "model.d_model=32"]
    tiny += ["task.corpus.train=300", "task.corpus.dev=2", "task.corpus.test=2", "task.tokenizer.size=400"]
    tiny += ["search.ratio=0.1", "search.extra=1"]
    run = environment.folder / "runs" / name
    file = str(environment.sources[name] / path)
    environment.run("seqx", "run", file, *profile, "--folder", str(run), *tiny)
    info = json.loads((run / "model" / "model.json").read_text(encoding="utf-8"))
    assert info["plugins"][Path(path).stem]["version"] == "0.1.0"
    assert environment.run("seqx", "translate", str(run), text="The cat sleeps.\n").count("\n") == 1


def test_external_optimizer_changes_only_its_targets(environment: Environment) -> None:
    file = str(environment.sources["seqx-lora"] / "recipes" / "lora.yaml")
    tiny = ["training.steps=2", "training.tokens=200", "training.save_every=1", "model.d_model=32"]
    tiny += ["task.corpus.train=300", "task.corpus.dev=2", "task.corpus.test=2", "task.tokenizer.size=400"]
    tiny += ["search.ratio=0.1", "search.extra=1"]
    base, tuned = (environment.folder / "runs" / name for name in ("base", "lora"))
    environment.run("seqx", "run", "wmt_en_de", "--profile", "sample", "--folder", str(base), *tiny)
    initial = (
        f'training.init_from={{model: {base}, freeze: [target, "*.norm.*", "*.key.*"], old_test: false}}'
    )
    command = ["seqx", "run", file, "--profile", "sample", "--folder", str(tuned), *tiny, initial]
    environment.run(*command)
    environment.run(*command, "training.steps=3")
    before, after = (load_file(run / "model" / "model.safetensors") for run in (base, tuned))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if name.endswith((".query.weight", ".value.weight"))}


def test_recipe_of_an_external_strategy_is_accepted(environment: Environment) -> None:
    file = str(environment.sources["seqx-local-sgd"] / "recipes" / "local_sgd.yaml")
    environment.run("seqx", "check", file, "--profile", "sample")
    shown = environment.run("seqx", "show", file, "--profile", "sample")
    assert re.search(r"parallel:.*\n +type: local_sgd.*\n +every: 8", shown)


def test_external_task_trains_and_its_command_corrects_words(environment: Environment) -> None:
    run = environment.folder / "runs" / "spelling"
    file = str(environment.sources["seqx-spelling"] / "recipes" / "spelling.yaml")
    tiny = ["training.steps=4", "training.save_every=1", "task.corpus.most=9", "task.corpus.text.train=60"]
    tiny += ["search.size=1", "search.ratio=0.1", "search.extra=1"]
    output = environment.run("seqx", "run", file, "--folder", str(run), *tiny)
    assert "test accuracy " in output
    assert environment.run("seqx", "spell", str(run), text="anser\nhuose\n").count("\n") == 2


def test_external_task_trains_on_sounds(environment: Environment) -> None:
    """The error rate of answers that do not depend on the sound is above 90."""
    run = environment.folder / "runs" / "tones"
    file = str(environment.sources["seqx-tones"] / "recipes" / "tones.yaml")
    small = ["training.steps=200", "training.validate_every=200", "training.save_every=200"]
    small += ["training.tokens=60", "training.precision=fp32"]
    small += ["task.corpus={type: melodies, train: 600, dev: 5, test: 50}"]
    environment.run("seqx", "run", file, "--folder", str(run), *small)
    scores = json.loads((run / "model" / "scores.json").read_text(encoding="utf-8"))
    assert scores["test"]["note error rate"]["value"] < 60


def test_external_recipe_reads_long_sounds(environment: Environment) -> None:
    run = environment.folder / "runs" / "tones_long"
    file = str(environment.sources["seqx-tones"] / "recipes" / "tones_long.yaml")
    tiny = ["training.steps=2", "training.validate_every=2", "training.save_every=1"]
    tiny += ["task.corpus={type: melodies, train: 20, dev: 2, test: 2, shortest: 20, longest: 30}"]
    output = environment.run("seqx", "run", file, "--folder", str(run), *tiny)
    assert "test note error rate " in output


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_pass_their_own_linter(path: Path) -> None:
    for command in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--no-cache"]
        done = subprocess.run(ruff, cwd=path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_external_plugins_pass_strict_type_checks(environment: Environment) -> None:
    """Dependencies are checked with the options of `make lint`, so that its cache can be used for them.

    torch imports some of the packages for which these options differ. With other options for them, torch
    would be checked again, too.
    """
    python = str(environment.folder / "bin" / "python")
    packages = [path for source in environment.sources.values() for path in sorted(source.glob("seqx_*"))]
    cache, config = environment.folder / "mypy", environment.folder / "mypy.ini"
    if (ROOT / ".mypy_cache").exists():
        shutil.copytree(ROOT / ".mypy_cache", cache)
    sections: dict[str, dict[str, Any]] = {"mypy": {"strict": True, "warn_return_any": False}}
    sections[mypy_section(f"{package.name}.*" for package in packages)] = {"warn_return_any": True}
    for override in PYPROJECT["tool"]["mypy"]["overrides"]:
        options = {name: value for name, value in override.items() if name != "module"}
        sections[mypy_section(override["module"])] = options
    parser = ConfigParser()
    parser.read_dict(sections)
    with config.open("w", encoding="utf-8") as file:
        parser.write(file)
    paths = ["--config-file", str(config), "--cache-dir", str(cache), "--python-executable", python]
    mypy = [sys.executable, "-m", "mypy", *paths, *map(str, packages)]
    done = subprocess.run(mypy, cwd=environment.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def mypy_section(patterns: Iterable[str]) -> str:
    """Return the name of the section with options for modules."""
    return f"mypy-{','.join(patterns)}"
