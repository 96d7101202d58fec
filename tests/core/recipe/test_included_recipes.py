"""Included recipes have no problems, can be printed and read again, and match the JSON schema."""

from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from seqx.plugin.loading import Plugins, load_plugins
from seqx.recipe import Configured, check, included_recipes, load, schema, show
from seqx.recipe.yaml_tree import parse, read
from seqx.training.description import Experiment

RECIPES = included_recipes()


@pytest.fixture(scope="module")
def found() -> Plugins:
    return cached_plugins()


cached_plugins = cache(load_plugins)


@cache
def checked(name: str) -> list[Configured[Experiment]]:
    """Return an included recipe without a profile, and with each of its profiles."""
    profiles = [None, *load(name).profiles]
    return [check(load(name, each).tree, cached_plugins().registry, Experiment) for each in profiles]


@pytest.fixture(scope="module")
def validator(found: Plugins) -> Any:
    return jsonschema.Draft202012Validator(schema(found.registry, Experiment))


def test_some_recipes_are_included() -> None:
    assert RECIPES


@pytest.mark.parametrize("name", RECIPES)
def test_every_profile_can_be_shown_and_read_again(found: Plugins, name: str) -> None:
    for made in checked(name):
        again = check(parse(show(made), "again.yaml"), found.registry, Experiment)
        assert again.plain() == made.plain()


INTERFACES = {
    *("Attention", "Decoder", "Encoder", "FeedForward", "Initialisation", "Linearisation", "Model", "Norm"),
    *("Objective", "Optimizer", "PositionalEncoding", "Schedule", "Task"),
}


def test_every_component_of_models_and_training_is_in_a_recipe(found: Plugins) -> None:
    used: set[tuple[str, str]] = set()
    for name in RECIPES:
        for made in checked(name):
            used |= {(component.interface.__name__, component.name) for component in made.used()}
    registered = {
        (interface.__name__, name)
        for interface in found.registry.interfaces()
        if interface.__name__ in INTERFACES
        for name in found.registry.components(interface)
    }
    assert {interface for interface, _ in registered} == INTERFACES
    assert registered - used == set()


@pytest.mark.parametrize("path", RECIPES.values(), ids=list(RECIPES))
def test_schema_accepts_every_included_recipe(validator: Any, path: Path) -> None:
    validator.validate(read(path).plain())


def test_schema_rejects_a_misspelled_setting(validator: Any) -> None:
    recipe = {"training": {"stepz": 3}}
    assert [error.json_path for error in validator.iter_errors(recipe)] == ["$.training"]
