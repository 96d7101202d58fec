"""Plugins from outside: built, installed beside a built seqx, their own tests and recipes run there."""

import json
import os
import re
import site
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from seqx.cli import main

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("seqx-*"))
WRITTEN = "qknorm"


@dataclass(frozen=True)
class Environment:
    """An environment of its own, where seqx and the plugins are installed; what they need is this one's."""

    folder: Path
    sources: dict[str, Path]

    def run(self, *command: str, cwd: Path | None = None, text: str | None = None) -> str:
        """What a command of the environment prints; run from a folder that is no checkout."""
        done = subprocess.run(
            [str(self.folder / "bin" / command[0]), *command[1:]],
            cwd=cwd or self.folder,
            env={
                **{key: value for key, value in os.environ.items() if not key.startswith("PYTHON")},
                "SEQX_CACHE": str(self.folder / "cache"),
            },
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Everything is built from its source, and nothing is fetched."""
    folder = tmp_path_factory.mktemp("environment")
    sources = {path.name: path for path in EXAMPLES}
    written = folder / "written"
    result = CliRunner().invoke(main, ["new", WRITTEN, "--folder", str(written)])
    assert result.exit_code == 0, result.output
    sources[f"seqx-{WRITTEN}"] = written
    for source in (ROOT, *sources.values()):
        build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
        target = ["--directory", str(folder / "wheels")]
        subprocess.run([*build, *target], cwd=source, check=True, capture_output=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = str(folder / "bin" / "python")
    wheels = [str(wheel) for wheel in (folder / "wheels").glob("*.whl")]
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, *wheels], check=True, capture_output=True)
    home = sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)})
    others = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    Path(home, "needed.pth").write_text(
        "\n".join(dict.fromkeys([*site.getsitepackages(), *others])) + "\n", encoding="utf-8"
    )
    return Environment(folder, sources)


def test_all_are_found_with_what_they_bring(environment: Environment) -> None:
    found = json.loads(environment.run("seqx", "plugins", "--json"))
    assert found["faults"] == []
    plugins = {plugin["name"]: plugin for plugin in found["plugins"]}
    assert plugins["kerple"]["components"] == {"PositionalEncoding": ["kerple", "kerple_power"]}
    assert plugins["spelling"]["commands"] == ["spell"]
    assert plugins["spelling"]["from"] == "seqx-spelling"
    assert plugins[WRITTEN]["components"] == {"Attention": [WRITTEN]}
    inside = str(environment.folder.resolve())
    assert all(plugin["path"].startswith(inside) for plugin in plugins.values())
    assert "  spell      " in environment.run("seqx", "--help")


def test_their_tests_pass(environment: Environment) -> None:
    """All in one process, which imports torch once."""
    folders = [str(source / "tests") for source in environment.sources.values()]
    options = ["-v", "-p", "no:cacheprovider", "--import-mode=importlib", "--rootdir", "/", "-c", "/dev/null"]
    said = environment.run("python", "-m", "pytest", *options, *folders)
    for folder in folders:
        tests = "/".join(Path(folder).parts[-2:])
        assert re.search(rf"(^|/){re.escape(tests)}/\S+::.+ PASSED", said, re.MULTILINE), folder


@pytest.mark.parametrize(
    "recipe", ["seqx-kerple/recipes/kerple.yaml", f"seqx-{WRITTEN}/recipes/{WRITTEN}.yaml"]
)
def test_their_recipes_train_and_translate(environment: Environment, recipe: str) -> None:
    name, _, path = recipe.partition("/")
    few = ["training.steps=2", "training.tokens=200", "training.save_every=1", "model.d_model=32"]
    few += ["task.corpus.train=300", "task.corpus.dev=2", "task.corpus.test=2", "task.tokenizer.size=400"]
    few += ["search.ratio=0.1", "search.extra=1"]
    run = environment.folder / "runs" / name
    file = str(environment.sources[name] / path)
    environment.run("seqx", "run", file, "--profile", "sample", "--folder", str(run), *few)
    about = json.loads((run / "model" / "model.json").read_text(encoding="utf-8"))
    assert about["plugins"][Path(path).stem]["version"] == "0.1.0"
    assert environment.run("seqx", "translate", str(run), text="The cat sleeps.\n").count("\n") == 1


def test_a_task_and_its_command(environment: Environment) -> None:
    run = environment.folder / "runs" / "spelling"
    file = str(environment.sources["seqx-spelling"] / "recipes" / "spelling.yaml")
    few = ["training.steps=4", "training.save_every=1", "task.corpus.most=9", "task.corpus.text.train=60"]
    few += ["search.size=1", "search.ratio=0.1", "search.extra=1"]
    said = environment.run("seqx", "run", file, "--folder", str(run), *few)
    assert "test accuracy " in said
    assert environment.run("seqx", "spell", str(run), text="anser\nhuose\n").count("\n") == 2


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_are_linted_by_their_own_rules(path: Path) -> None:
    for command in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--no-cache"]
        done = subprocess.run(ruff, cwd=path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_types_are_strict(environment: Environment) -> None:
    python = str(environment.folder / "bin" / "python")
    checked = [str(part) for source in environment.sources.values() for part in sorted(source.glob("seqx_*"))]
    options = ["--strict", "--config-file", "/dev/null", "--cache-dir", str(environment.folder / "mypy")]
    mypy = [sys.executable, "-m", "mypy", *options, "--python-executable", python, *checked]
    done = subprocess.run(mypy, cwd=environment.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
