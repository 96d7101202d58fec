"""A message about an unknown component says which plugin may have it, and how to add a plugin."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from seqx.errors import RecipeError
from seqx.recipe import check, load

RECIPE = """\
task: translation
model: {type: encoder_decoder, d_model: 16, encoder: {type: %s}}
training: {steps: 3}
"""
PLUGIN = """\
@seqx.hookimpl
def seqx_register(registry):
    registry.add(seqx.Encoder, convolution=Convolution, local_stack=LocalStack)
"""


@pytest.fixture
def message(
    sample_plugin: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], str]:
    """Return the message about an encoder that is not registered."""
    monkeypatch.chdir(tmp_path)

    def message_about(name: str, *overrides: str) -> str:
        Path("mine.yaml").write_text(RECIPE % name, encoding="utf-8")
        with pytest.raises(RecipeError) as caught:
            check(load("mine.yaml", None, overrides).tree, sample_plugin.registry, sample_plugin.Experiment)
        return str(caught.value).partition("\n")[0].removeprefix("mine.yaml:2:61: model.encoder: ")

    return message_about


def test_missing_component_of_a_file_beside_the_recipe_is_found(message: Callable[..., str]) -> None:
    Path("other.py").write_text("x = 1\n", encoding="utf-8")
    Path("plugin.py").write_text(PLUGIN, encoding="utf-8")
    assert message("local_stack") == (
        "no Encoder is called 'local_stack'; plugin.py beside the recipe may register it: add "
        "plugins: [./plugin.py] to the recipe"
    )
    assert "plugin.py beside the recipe may register it" in message("stack", "model.encoder=local_stack")


def test_missing_component_advises_to_add_a_plugin(message: Callable[..., str]) -> None:
    assert message("mamba") == (
        "no Encoder is called 'mamba'; there are stack, lstm; if a plugin has it, list its file in the "
        "recipe, as in plugins: [./mine.py], or install it"
    )
    assert message("stak") == "no Encoder is called 'stak'; did you mean 'stack'?"


def test_name_of_another_interface_is_reported(message: Callable[..., str]) -> None:
    assert message("multihead") == (
        "no Encoder is called 'multihead'; this name belongs to another interface, Attention; there are "
        "stack, lstm"
    )
