"""Compare docs/how-to/write_components.md with the interfaces, and run the laws on its listings."""

import ast
import dataclasses
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import seqx
import seqx_sample
import seqx_text
import seqx_transformer.testing
from seqx.interfaces import exchange, input_layer, learning, networks, slots, task, text
from seqx.parallel import parallelism
from seqx.plugin.registry import Registry
from seqx.testing import Subject, check_grammar, laws_of
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

WITHIN = {"Slots": "Generator"}
"""Interfaces that are not registered, with the interface of the component that returns them."""

DOCUMENT = ROOT / "docs/how-to/write_components.md"
SETTINGS = {
    "Reversal": {
        "corpus": seqx_sample.Sample(train=50, dev=5, test=5),
        "tokenizer": seqx_text.SentencePiece(size=400),
        "metric": seqx_text.Chrf(),
    }
}


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
    """Import the first Python listing of a section."""
    listing = next(item for item in sections()[request.param] if item.language == "python")
    name = f"listing_{request.param}"
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


@pytest.mark.parametrize(
    "module", [i.__name__ for i in INTERFACES if i is not seqx.Grammar] + ["Kernel", "Pooling"], indirect=True
)
def test_components_of_listings_obey_the_laws(module: ModuleType) -> None:
    registry = Registry()
    module.seqx_register(registry)
    name = module.__name__.removeprefix("listing_")
    name = WITHIN.get(name, name)
    assert registry.components(getattr(seqx, name, getattr(module, name, None)) or object)
    for interface in registry.interfaces():
        for component in registry.components(interface).values():
            subject = Subject(component, SETTINGS.get(component.maker.__name__, {}))
            laws = laws_of(interface, component.maker)
            assert laws
            for law in laws:
                law(subject)


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


def test_grammar_listing_obeys_the_laws() -> None:
    (listing,) = (item for item in sections()["Grammar"] if item.language == "python")
    names: dict[str, object] = {}
    exec(listing.text, names)
    grammar: Any = names["NoRepetition"]
    check_grammar(grammar(size=9), torch.tensor([4, 6, 3]))
