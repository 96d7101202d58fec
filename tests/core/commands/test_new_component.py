"""`seqx new INTERFACE NAME` writes a working component for every interface, and a recipe that names it."""

import logging
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from seqx.commands.loading import load_checked
from seqx.commands.templates import (
    COMMAND,
    IN_RECIPES,
    INTERFACES,
    RECIPES,
    component_text,
    package_texts,
    recipe_text,
)
from seqx.plugin.loading import load_plugins
from seqx.training.preflight import build_checked
from tests.docs.test_interfaces import INTERFACES as PUBLIC
from tests.stories.tiny import done, refused


def snake_case(name: str) -> str:
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in name).removeprefix("_")


@pytest.fixture
def package(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """Write the plugin for an interface, and remove its modules afterwards."""
    name = f"zz_{request.param}"
    for path, text in package_texts(request.param, name).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(tmp_path / "tests")
    yield tmp_path
    for module in (f"seqx_{name}", "test_laws", "test_command"):
        sys.modules.pop(module, None)


def test_templates_cover_every_interface_and_commands() -> None:
    """Interfaces that plugins define have templates, too."""
    names = {cls.__name__ for cls in [*PUBLIC, *load_plugins().registry.interfaces()]}
    assert {*INTERFACES} == {*map(snake_case, names), COMMAND}


@pytest.mark.parametrize("package", sorted({*INTERFACES} - {COMMAND}), indirect=True)
def test_plugin_of_each_interface_obeys_its_laws_as_generated(package: Path) -> None:
    marks = import_module("test_laws").test_laws.pytestmark
    cases = [case.values for mark in marks for case in mark.args[1]]
    assert cases
    for law, subject in cases:
        law(subject)


@pytest.mark.parametrize("package", [COMMAND], indirect=True)
def test_plugin_with_a_command_passes_its_test_as_generated(package: Path) -> None:
    import_module("test_command").test_command_refuses_a_folder_without_a_run(package)


@pytest.mark.parametrize("interface", RECIPES)
def test_recipe_of_each_interface_is_accepted(interface: str, tmp_path: Path) -> None:
    name = f"yy_{interface}"
    (tmp_path / f"{name}.py").write_text(component_text(interface, name), encoding="utf-8")
    recipe = tmp_path / f"{name}.yaml"
    recipe.write_text(recipe_text(interface, name, f"{name}.py"), encoding="utf-8")
    checked = load_checked(str(recipe))
    build_checked(checked.configured)
    assert name in {component.name for component in checked.configured.used()}


def test_new_attention_is_trained_by_four_commands_and_twenty_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of the four commands installs seqx; the lines are all of both files, without comments."""
    monkeypatch.chdir(tmp_path)
    *_, check, run = done("new", "attention", "nearest").splitlines()
    assert (check, run) == ("  seqx check nearest.py", "  seqx run nearest.yaml")
    files = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    assert sorted(files) == ["nearest.py", "nearest.yaml"]
    example = "# This code is an example: replace it and its docstring with your own nearest"
    assert files["nearest.py"].startswith(f"{example}; then\n")
    assert package_texts("attention", "nearest")["seqx_nearest/__init__.py"].startswith(f"{example}.\n")
    lines = [line for text in files.values() for line in text.splitlines() if not re.match(r" *(#|$)", line)]
    assert len(lines) <= 20
    tiny = ["training.steps=2", "training.tokens=200", "training.validate_every=2", "training.save_every=2"]
    tiny += ["task.corpus.train=300", "task.corpus.dev=2", "task.corpus.test=2", "task.tokenizer.size=400"]
    output = done("run", "nearest.yaml", *tiny, "model.d_model=16", "search.ratio=0.1", "search.extra=1")
    assert "model: runs/nearest/model\n" in output


def test_check_names_the_laws_that_a_component_breaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = component_text("schedule", "mine")
    Path("good.py").write_text(text, encoding="utf-8")
    assert re.fullmatch(r"good\.py: Schedule mine: obeys \d laws\n", done("check", "good.py"))
    start = text.index("        return")
    end = text.index("\n", start)
    Path("zero.py").write_text(f"{text[:start]}        return 0.0{text[end:]}", encoding="utf-8")
    assert refused("check", "zero.py").startswith(
        "zero.py: Schedule mine breaks the law rates_are_positive_and_finite: "
    )
    Path("raises.py").write_text(f"{text[:start]}        return 1 / 0{text[end:]}", encoding="utf-8")
    message = refused("check", "raises.py")
    assert re.search(
        r"^raises\.py: Schedule mine breaks the law \w+ and 1 other law: ZeroDivisionError: .* \(line \d+\)$",
        message,
    )


WHOLE = """\
import seqx, torch
from seqx_transformer import ScoredAttention
from torch import nn


class Started(ScoredAttention):
    \"\"\"Dot products times a factor.

    Args:
        heads: number of heads
        start: the first factor
    \"\"\"

    def __init__(self, d_model: int, *, heads: int = 2, start: float = 10) -> None:
        super().__init__(d_model, heads=heads)
        self.factor = nn.Parameter(torch.full((heads, 1, 1), START))

    def scores(self, q, k):
        return self.factor * (q @ k.mT)


@seqx.hookimpl
def seqx_register(registry):
    registry.add(seqx.Attention, started=Started)
"""


def test_whole_default_of_a_float_setting_is_a_float_in_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("started.py").write_text(WHOLE.replace("START", "start"), encoding="utf-8")
    Path("started.yaml").write_text(recipe_text("attention", "started", "started.py"), encoding="utf-8")
    assert done("check", "started.yaml").endswith(" parameters\n")


def test_error_in_the_constructor_of_a_plugin_names_it_and_is_printed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("wrong.py").write_text(WHOLE.replace("START", "int(start)"), encoding="utf-8")
    Path("wrong.yaml").write_text(recipe_text("attention", "started", "wrong.py"), encoding="utf-8")
    assert re.search(
        r"^wrong\.yaml:\d+:\d+: model: \S*wrong\.py:16: "
        r"plugin \S*wrong\.py, Attention 'started': RuntimeError: "
        r"Only Tensors of floating point .*; `seqx --debug` shows the traceback",
        refused("check", "wrong.yaml"),
    )
    message = refused("check", "wrong.py")
    laws = r"wrong\.py: Attention started breaks the law \w+ and \d\d other laws"
    assert re.fullmatch(rf"{laws}: RuntimeError: Only .* \(line 16\)\n?", message)


def test_messages_about_broken_laws_are_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    text = WHOLE.replace("START", "start").replace("k.mT", "k")
    Path("shapes.py").write_text(text, encoding="utf-8")
    message = refused("check", "shapes.py")
    problems = re.findall(r"breaks the law \w+.*?(?=\nshapes\.py: |\Z)", message, re.DOTALL)
    assert any("law compiles" in problem for problem in problems)
    assert max(problem.strip().count("\n") for problem in problems) < 3
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_sizes_of_a_plugin_that_are_too_large_are_named_as_the_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = WHOLE.replace("START", "1.0").replace("(heads, 1, 1)", "(heads, int(start), 10**18)")
    Path("large.py").write_text(text, encoding="utf-8")
    Path("large.yaml").write_text(recipe_text("attention", "started", "large.py"), encoding="utf-8")
    assert re.search(r"model: cannot be built with these sizes \(.*overflow", refused("check", "large.yaml"))


def test_check_says_how_to_test_a_component_with_required_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(component_text("task", "mine"), encoding="utf-8")
    line = done("check", "mine.py")
    assert line.startswith(
        "mine.py: Task mine: not checked, because it needs the settings corpus, tokenizer, metric;"
    )


def test_check_refuses_a_missing_file_and_a_file_without_components(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert refused("check", "none.py").startswith("none.py: there is no such file;")
    Path("empty.py").touch()
    assert "registers no component" in refused("check", "empty.py")


def test_new_component_refuses_unusable_names_and_existing_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert refused("new", "attention", "multihead") == (
        "plugin 'transformer' has an Attention called 'multihead'; choose another name\n"
    )
    assert refused("new", "attention", "torch").startswith("a package called torch is installed;")
    Path("mine.yaml").touch()
    assert refused("new", "attention", "mine").startswith("mine.yaml: exists already;")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]
    assert "no interface 'Atention'; did you mean 'attention'?" in refused("new", "Atention", "mine")


def test_component_of_another_interface_may_have_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert done("new", "search", "cosine", "--folder", "sub").startswith("sub/cosine.py: the Search cosine.")
    assert done("check", "sub/cosine.yaml").endswith(" parameters\n")


@pytest.mark.parametrize("interface", sorted({*INTERFACES} - {*IN_RECIPES}))
def test_component_that_no_recipe_names_is_written_as_a_plugin(
    interface: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    output = done("new", interface, "zz_mine")
    assert output.startswith("seqx-zz_mine: plugin zz_mine, with a ")
    assert "seqx run" not in output
    assert "recipes" not in Path("seqx-zz_mine/README.md").read_text(encoding="utf-8")
