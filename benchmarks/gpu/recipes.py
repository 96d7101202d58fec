"""Recipes of the checkout, opened for measuring."""

from collections.abc import Sequence
from pathlib import Path

from seqx.experiment import Experiment
from seqx.plugins import load as load_plugins
from seqx.recipe import check, load
from seqx_models import EncoderDecoder

TINY = (
    "model.d_model=32",
    *(
        f"model.{side}.{setting}"
        for side in ("encoder", "decoder")
        for setting in ("layers=1", "attention.heads=2")
    ),
    *(f"model.{side}.feedforward.width=64" for side in ("encoder", "decoder")),
)
"""What makes a model small enough for a dry run."""


def experiment(recipe: str, overrides: Sequence[str] = ()) -> Experiment:
    """What a recipe that comes with seqx describes."""
    path = Path(__file__).parents[2] / "recipes" / f"{recipe}.yaml"
    made = check(load(path, overrides=overrides).tree, load_plugins().registry, Experiment)
    return made()


def model(described: Experiment, vocabulary: int) -> EncoderDecoder:
    """Its model, with one vocabulary for both sides."""
    built = described.model({"source": vocabulary, "target": vocabulary})
    assert isinstance(built, EncoderDecoder)
    return built
