"""Old names of settings: reported in recipes that users write, translated in recipes that seqx stored."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from seqx.errors import RecipeError, RegistrationError
from seqx.plugin.loading import load_plugins
from seqx.plugin.registry import Registry, section_settings
from seqx.recipe import check, with_new_names
from seqx.recipe.overrides import override
from seqx.recipe.yaml_tree import parse
from seqx.training.config import Training


@dataclass(frozen=True, kw_only=True)
class Renamed:
    """A section whose settings had other names."""

    renamed: ClassVar[Mapping[str, str]] = {
        "keep": "keep_checkpoints",
        "norm_place": "norm_order",
        "speed": "limits",
    }
    renamed_values: ClassVar[Mapping[str, Mapping[str, Any]]] = {"speed": {"slow": {"low": 1}, "none": None}}

    keep_checkpoints: int
    norm_order: str = "post"
    limits: Mapping[str, int] | None = None


def test_an_old_name_of_a_setting_is_reported_with_the_new_name() -> None:
    with pytest.raises(RecipeError) as caught:
        check(parse("keep: 2\nnorm_place: pre\n", "mine.yaml"), Registry(), Renamed)
    first, second = caught.value.problems
    assert str(first).startswith("mine.yaml:1:1: recipe: keep is now called keep_checkpoints\n")
    assert str(second).startswith("mine.yaml:2:1: recipe: norm_place is now called norm_order\n")


def test_an_old_name_in_an_override_of_a_stored_recipe_is_reported(tmp_path: Path) -> None:
    node = override(parse("keep: 2\n", stored(tmp_path)), "keep=3")
    with pytest.raises(RecipeError, match=r"^keep=3: recipe: keep is now called keep_checkpoints"):
        check(node, Registry(), Renamed)


@pytest.mark.parametrize(("old", "new"), [("slow", "{low: 1}"), ("none", "null")])
def test_an_old_value_of_a_renamed_setting_is_reported_with_the_new_value(old: str, new: str) -> None:
    with pytest.raises(RecipeError) as caught:
        check(parse(f"keep_checkpoints: 2\nspeed: {old}\n", "mine.yaml"), Registry(), Renamed)
    (problem,) = caught.value.problems
    message = f"mine.yaml:2:1: recipe: speed: {old} is now written limits: {new}\n"
    assert str(problem).startswith(message)


def test_an_old_name_with_an_invalid_value_is_one_problem() -> None:
    with pytest.raises(RecipeError) as caught:
        check(parse("keep: many\nspeed: fast\n", "mine.yaml"), Registry(), Renamed)
    assert [str(problem).partition("\n")[0] for problem in caught.value.problems] == [
        "mine.yaml:1:1: recipe: keep is now called keep_checkpoints",
        "mine.yaml:2:1: recipe: speed is now called limits",
    ]


@pytest.mark.parametrize(("old", "new"), [("slow", {"low": 1}), ("none", None)])
def test_old_values_in_a_stored_recipe_are_translated(old: str, new: object, tmp_path: Path) -> None:
    checked = check(parse(f"keep: 2\nspeed: {old}\n", stored(tmp_path)), Registry(), Renamed)
    assert checked.plain()["limits"] == new
    assert with_new_names({"keep": 2, "speed": old}, checked) == {"keep_checkpoints": 2, "limits": new}


@pytest.mark.parametrize(
    ("old", "new"),
    [("none", "null"), ("state", "{type: fsdp, reshard_after_forward: false}"), ("full", "fsdp")],
)
def test_each_value_of_sharding_has_a_value_of_parallel(old: str, new: str) -> None:
    registry = load_plugins().registry
    with pytest.raises(RecipeError) as caught:
        check(parse(f"sharding: {old}\n", "mine.yaml"), registry, Training)
    message = f"mine.yaml:1:1: recipe: sharding: {old} is now written parallel: {new}\n"
    assert sum(str(problem).startswith(message) for problem in caught.value.problems) == 1


def test_old_names_in_a_stored_recipe_are_translated(tmp_path: Path) -> None:
    node = parse("keep: 2\nnorm_place: pre\n", stored(tmp_path))
    assert check(node, Registry(), Renamed).plain() == {
        "keep_checkpoints": 2,
        "norm_order": "pre",
        "limits": None,
    }
    changed = override(override(node, "keep_checkpoints=3"), "norm_order=post")
    assert check(changed, Registry(), Renamed).plain() == {
        "keep_checkpoints": 3,
        "norm_order": "post",
        "limits": None,
    }


def test_a_plain_stored_recipe_gets_the_new_names_of_a_checked_recipe() -> None:
    checked = check(parse("keep_checkpoints: 2\n", "mine.yaml"), Registry(), Renamed)
    assert with_new_names({"keep": 1, "other": 5}, checked) == {"keep_checkpoints": 1, "other": 5}
    assert with_new_names({"type": "x", "keep": 1}, checked) == {"type": "x", "keep": 1}


def test_a_renamed_setting_must_exist() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Wrong:
        renamed: ClassVar[Mapping[str, str]] = {"old": "gone"}
        new: int = 0

    with pytest.raises(RegistrationError, match=r"'old': 'gone'\} must map an old name to a setting"):
        section_settings(Wrong)


def stored(folder: Path) -> str:
    """Return the name of a recipe in a folder that looks like that of a run."""
    (folder / "environment.json").touch()
    return str(folder / "recipe.yaml")
