"""Check that the documents cover all settings, commands, hooks, interfaces and layers."""

import ast
import dataclasses
import inspect
import re
import shutil
import subprocess
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from seqx import recipe
from seqx.cli import COMMANDS
from seqx.commands.templates import component_text, recipe_text
from seqx.plugin import hooks, loading
from seqx.plugin.installed import COMMAND_GROUP
from seqx.training.config import Training
from seqx.training.description import Experiment
from seqx_sample import Sample
from tests.docs.listings import DOCUMENTS, ROOT, listings
from tests.docs.test_interfaces import INTERFACES

TEXTS = {path.name: path.read_text(encoding="utf-8") for path in DOCUMENTS}
ALL = "\n".join(TEXTS.values())
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("setting", [field.name for field in dataclasses.fields(Training)])
def test_each_training_setting_is_explained(setting: str) -> None:
    assert f"\n| `{setting}` | " in TEXTS["settings.md"]


@pytest.mark.parametrize("verb", [*COMMANDS, *(entry.name for entry in entry_points(group=COMMAND_GROUP))])
def test_each_command_is_in_a_listing(verb: str) -> None:
    commands = [
        command.text
        for path in DOCUMENTS
        for listing in listings(path)
        if listing.language == "console"
        for command in listing.commands()
    ]
    assert any(re.search(rf"\bseqx {verb}\b", command) for command in commands)


def specifications() -> list[str]:
    """Return the hooks with their arguments, from the source."""
    found = []
    for node in ast.walk(ast.parse(inspect.getsource(hooks))):
        decorators = [ast.unparse(each) for each in getattr(node, "decorator_list", ())]
        if isinstance(node, ast.FunctionDef) and any(text.startswith("hookspec") for text in decorators):
            arguments = ast.unparse(node.args).removeprefix("self, ")
            assert node.returns is not None
            found.append(f"{node.name}({arguments}) -> {ast.unparse(node.returns)}")
    return found


@pytest.mark.parametrize("specification", specifications())
def test_each_hook_has_a_heading_with_its_arguments(specification: str) -> None:
    assert re.search(rf"^#+ `{re.escape(specification)}`$", TEXTS["api.md"], re.MULTILINE)


def test_each_event_is_a_hook() -> None:
    events = {name for name in vars(hooks.Events) if not name.startswith("_")}
    assert events | {"seqx_register", "seqx_run_ended", "seqx_html"} == {
        spec.partition("(")[0] for spec in specifications()
    }


def test_each_interface_is_in_the_architecture_table() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (?:`([\w, ]+)`)? *\|", TEXTS["architecture.md"], re.MULTILINE)
    assert {name for name, _ in rows} == {interface.__name__ for interface in INTERFACES}


def test_each_interface_of_a_plugin_is_documented() -> None:
    interfaces = {name for plugin in loading.load_plugins().loaded for name in plugin.interfaces}
    assert interfaces >= {"FeedForward", "Linearisation"}
    assert {name for name in interfaces if f"`{name}`" not in ALL} == set()


def test_each_component_is_documented() -> None:
    registry = loading.load_plugins().registry
    for interface in registry.interfaces():
        for name in registry.components(interface):
            assert f"`{name}`" in ALL, f"{interface.__name__} {name} is in no document"


def test_documented_layers_are_those_of_the_import_contract() -> None:
    (contract,) = [c for c in PYPROJECT["tool"]["importlinter"]["contracts"] if c["type"] == "layers"]
    checked = [layer for layer in contract["layers"] if layer != "__main__"]
    (shown,) = [
        item.text for item in listings(ROOT / "docs/explanation/architecture.md") if "START HERE" in item.text
    ]
    assert [re.split(r"\s{2,}", line)[0] for line in shown.splitlines()] == checked


def test_architecture_lists_every_package() -> None:
    packages = [
        f"{path.parent.relative_to(ROOT)}/"
        for root in ("seqx", "plugins")
        for path in (ROOT / root).glob("*/__init__.py")
    ]
    missing = [package for package in packages if package not in TEXTS["architecture.md"]]
    assert set(missing) <= {"seqx/commands/"}


def test_index_links_to_every_document() -> None:
    documents = [str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")]
    missing = [path for path in documents if f"({path})" not in TEXTS["index.md"]]
    assert missing == ["index.md"]


def anchors(path: Path) -> set[str]:
    """Return the headings of a document as anchors of links."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_link_targets_exist(document: Path) -> None:
    for target, anchor in re.findall(
        r"\]\(([^)#:\s]*)(?:#([^)\s]*))?\)", document.read_text(encoding="utf-8")
    ):
        path = document.parent / target if target else document
        assert path.exists(), f"{document.name}: {target}"
        assert not anchor or anchor in anchors(path), f"{document.name}: {target}#{anchor}"


def test_each_skipped_block_has_a_reason() -> None:
    known = r" (not run|output not compared): \w.+ | exit code \d+ | table: \S+ | end "
    for path in DOCUMENTS:
        for note in re.findall(r"<!--(.*?)-->", TEXTS[path.name]):
            assert re.fullmatch(known, note), note


@pytest.mark.parametrize(
    ("document", "name", "profile"), [("README.md", "quickstart", None), ("train.md", "wmt_en_de", "sample")]
)
def test_progress_lines_fit_the_schedule_of_the_recipe(document: str, name: str, profile: str | None) -> None:
    read = recipe.load(name, profile)
    training = recipe.check(read.tree, loading.load_plugins().registry, Experiment)().training
    ((step, steps, rate),) = re.findall(
        r"^step +(\d+)/(\d+)  loss .*  rate (\S+) ", TEXTS[document], re.MULTILINE
    )
    assert int(steps) == training.steps
    assert rate == f"{training.schedule(int(step), training.steps):.2e}"


def test_sentences_of_make_run_are_in_the_test_set() -> None:
    recipe = ROOT / "recipes/quickstart.yaml"
    assert "corpus: {type: sample}" in recipe.read_text(encoding="utf-8")
    rows = {english for english, _ in Sample().rows("test")}
    sentences = re.findall(r'"([^"]+\.)"', (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert len(sentences) == 3
    assert set(sentences) <= rows
    assert all(f"\n{sentence}\n" in TEXTS["README.md"] for sentence in sentences)


def test_plugin_tutorial_counts_its_commands_and_lines() -> None:
    before = TEXTS["plugin.md"].partition("## Use it")[0]
    shown = [item for item in listings(ROOT / "docs/tutorials/plugin.md") if item.text in before]
    commands = [command for item in shown if item.language == "console" for command in item.commands()]
    code, recipe = (item.text for item in shown if item.language in ("python", "yaml"))
    assert code == component_text("attention", "nearest")
    assert recipe == recipe_text("attention", "nearest", "nearest.py")
    lines = [line for line in (code + recipe).splitlines() if not re.match(r" *(#|$)", line)]
    assert f"{len(commands)} commands and {len(lines)} lines of code and recipe" in before
    assert len(commands) <= 4
    assert len(lines) <= 20


def test_pyproject_listing_matches_the_template() -> None:
    (shown,) = [item.text for item in listings(ROOT / "docs/tutorials/plugin.md") if item.language == "text"]
    template = tomllib.loads(
        (ROOT / "seqx/templates/plugin/pyproject.toml")
        .read_text(encoding="utf-8")
        .replace("newcomer", "fire")
    )
    part = tomllib.loads(shown)["project"]
    assert part["dependencies"] == template["project"]["dependencies"]
    assert part["entry-points"]["seqx"] == template["project"]["entry-points"]["seqx"]
    assert list(part["entry-points"]) == ["seqx", COMMAND_GROUP]


def test_commits_of_components_changed_only_the_listed_core_files() -> None:
    rows = re.findall(r"^\| .+ \| (`[0-9a-f]{7}`.*) \| (none|`.+`, \d+ lines: .+) \|$", ALL, re.MULTILINE)
    assert len(rows) >= 6
    listed: dict[str, set[str]] = {}
    for commits, files in rows:
        for commit in re.findall("`(.+?)`", commits):
            listed.setdefault(commit, set()).update(re.findall("`(interfaces/.+?)`, ", files))
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    for commit, files in listed.items():
        shown = subprocess.run(
            ["git", "show", "--name-only", "--format=", commit, "--", "seqx"],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if shown.returncode:
            pytest.skip("the checkout has no history")
        assert {f"seqx/{name}" for name in files} == set(shown.stdout.split()), commit


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_text_names_the_file_of_a_listing(document: Path) -> None:
    """The name after the language of a listing is not shown where Markdown is rendered."""
    text = TEXTS[document.name]
    after_previous = 0
    for item in listings(document):
        start = text.index(f"\n{item.text}```", after_previous)
        above = text[after_previous:start]
        assert item.file is None or f"`{item.file}`" in above, f"{item.place}: name {item.file} above it"
        after_previous = start + 1 + len(item.text) + 3
