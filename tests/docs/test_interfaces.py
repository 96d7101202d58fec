"""Compare docs/how-to/write_components.md with the interfaces, and its listings with templates and laws."""

import ast
import dataclasses
import re
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

import seqx
import seqx_transformer.testing
from seqx.commands.templates import INTERFACES as TEMPLATES
from seqx.commands.templates import component_text
from seqx.interfaces import exchange, input_layer, learning, networks, slots, task, text
from seqx.parallel import parallelism
from seqx.plugin.registry import Registry
from seqx.testing import Subject, laws_of
from tests.docs.listings import ROOT, Listing, listings

INTERFACES: list[type] = [
    *(seqx.PositionalEncoding, seqx.Attention, seqx.InputLayer, seqx.Encoder, seqx.Decoder),
    *(seqx.Model, seqx.Generator, seqx.Slots, seqx.Ensemble),
    *(seqx.Objective, seqx.Optimizer, seqx.Schedule, seqx.Parallelism),
    *(seqx.Search, seqx.ScoreProcessor, seqx.Grammar, seqx.Callback),
    *(
        seqx.Normalizer,
        seqx.Tokenizer,
        seqx.Corpus,
        seqx.Metric,
        seqx.Task,
        seqx.Exporter,
        seqx.Engine,
        seqx.Importer,
    ),
]

assert seqx_transformer.testing.H  # the module is imported to register its laws

PLUGIN_INTERFACES = {"feed_forward", "initialisation", "kernel", "linearisation", "norm"}
"""The templates of interfaces that plugins define; the document has their listings in other sections."""

DOCUMENT = ROOT / "docs/how-to/write_components.md"


def sections() -> dict[str, list[Listing]]:
    """Return the listings below each heading."""
    lines = DOCUMENT.read_text(encoding="utf-8").splitlines()
    headings = {number: line.split("`")[1] for number, line in enumerate(lines, 1) if line.startswith("## `")}
    found: dict[str, list[Listing]] = {name: [] for name in headings.values()}
    for listing in listings(DOCUMENT):
        line = int(listing.place.rpartition(":")[2])
        heading = max(number for number in headings if number < line)
        found[headings[heading]].append(listing)
    return found


@pytest.fixture
def module(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """Import a Python listing of a section."""
    section, number = request.param
    listing = [item for item in sections()[section] if item.language == "python"][number]
    name = f"listing_{section}_{number}"
    file = tmp_path / f"{name}.py"
    file.write_text(listing.text, encoding="utf-8")
    spec = spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    loaded = sys.modules[name] = module_from_spec(spec)
    spec.loader.exec_module(loaded)
    yield loaded
    del sys.modules[name]


def test_each_interface_has_a_section() -> None:
    assert list(sections()) == [*(interface.__name__ for interface in INTERFACES), "Kernel", "Pooling"]


def is_interface(value: object) -> bool:
    """Return true for a class that plugins implement: no dataclass, tuple, list, error or protocol."""
    value_types = dataclasses.is_dataclass(value) or (
        isinstance(value, type) and issubclass(value, list | tuple | Exception)
    )
    return isinstance(value, type) and not value_types and not getattr(value, "_is_protocol", False)


def test_each_public_interface_is_listed() -> None:
    public = {
        value
        for module in (exchange, input_layer, learning, networks, parallelism, slots, task, text)
        for name, value in vars(module).items()
        if is_interface(value) and value.__module__ == module.__name__ and name in seqx.__all__
    }
    assert public - {seqx.Step} == {*INTERFACES}


def test_first_listing_of_each_interface_is_its_template() -> None:
    """The templates are tested in tests/core/commands/test_new_component.py."""
    assert len(INTERFACES) == len({*TEMPLATES} - {"command", *PLUGIN_INTERFACES})
    for interface in INTERFACES:
        listing = next(item for item in sections()[interface.__name__] if item.language == "python")
        name = re.search(r"registry\.add\(seqx\.\w+, (\w+)=", listing.text)
        assert name is not None
        template = re.sub(r"(?<!^)(?=[A-Z])", "_", interface.__name__).lower()
        assert listing.text == component_text(template, name[1]), listing.place


@pytest.mark.parametrize("cls", [seqx.Run, seqx.Update, seqx.Evaluation, seqx.Score])
def test_all_fields_that_callbacks_receive_are_explained(cls: type) -> None:
    assert f"(../reference/api.md#seqx{cls.__name__.lower()})" in DOCUMENT.read_text(encoding="utf-8")
    reference = (ROOT / "docs/reference/api.md").read_text(encoding="utf-8")
    entry = reference.partition(f"\n### `seqx.{cls.__name__}`\n")[2].partition("\n### ")[0]
    explained = {*re.findall(r"^(?:- |\| )`(\w+)`(?:: | \| .* \| )[^\s|]", entry, re.MULTILINE)}
    assert dataclasses.is_dataclass(cls)
    assert {each.name for each in dataclasses.fields(cls) if not each.name.startswith("_")} <= explained


@pytest.mark.parametrize(
    "module", [("Attention", 1), ("Callback", 1), ("Kernel", 0), ("Pooling", 0)], indirect=True
)
def test_components_of_other_listings_obey_the_laws(module: ModuleType) -> None:
    registry = Registry()
    module.seqx_register(registry)
    assert registry.interfaces()
    for interface in registry.interfaces():
        for component in registry.components(interface).values():
            laws = laws_of(interface, component.maker)
            assert laws
            for law in laws:
                law(Subject(component))


def without_docstrings_of_functions(text: str) -> str:
    """Return Python code without comments and without the docstrings of functions and of the module."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.Module) and ast.get_docstring(node) is not None:
            del node.body[0]
    return ast.unparse(tree)


def test_tutorial_writes_the_strategy_of_the_example() -> None:
    tutorial = listings(ROOT / "docs/tutorials/parallel_strategy.md")
    *_, last = (item.text for item in tutorial if item.file == "local_sgd.py")
    example = ROOT / "examples/seqx-local-sgd/seqx_local_sgd/__init__.py"
    expected = without_docstrings_of_functions(example.read_text(encoding="utf-8"))
    assert without_docstrings_of_functions(last) == expected
