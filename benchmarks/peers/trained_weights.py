"""The weights of a trained Transformer of seqx, read without seqx: for converters to other formats.

A model folder has the weights (model.safetensors), the recipe and the SentencePiece model. Only the models
are supported that the compared toolkits can express: multi-head attention, ReLU, layer norm after each
sub-layer, and sinusoidal positions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from safetensors.numpy import load_file

Array = NDArray[np.float32]

EXPECTED = {
    "type": "transformer",
    "feedforward": "relu",
    "positions": "sinusoidal",
    "norm": "layernorm",
    "norm_order": "post",
    "residual_scale": 1.0,
}
"""The settings of encoder and decoder that are supported, which are also the defaults."""


@dataclass(frozen=True)
class TrainedWeights:
    """The weights of a model and the sizes that are not shapes of weights."""

    arrays: Mapping[str, Array]
    heads: int
    layers: tuple[int, int]  # of encoder and decoder
    scaled: bool  # embeddings are multiplied by sqrt(d_model)
    tokenizer: Path  # the SentencePiece model

    @property
    def target(self) -> Array:
        """The embeddings of the target [V, D]."""
        return self.arrays["target.weight"]

    @property
    def source(self) -> Array:
        """The embeddings of the source [V, D]."""
        return self.arrays.get("source.weight", self.target)

    @property
    def projection(self) -> Array:
        """The output projection [V, D]."""
        return self.arrays.get("projection.weight", self.target)

    def linear(self, *names: str) -> tuple[Array, Array]:
        """Return weight [out, D] and bias [out] of linear maps, concatenated; a missing bias is 0."""
        weights = np.concatenate([self.arrays[f"{name}.weight"] for name in names])
        biases = [self.arrays.get(f"{name}.bias") for name in names]
        filled = [
            np.zeros(len(self.arrays[f"{name}.weight"]), np.float32) if bias is None else bias
            for name, bias in zip(names, biases, strict=True)
        ]
        return weights, np.concatenate(filled)

    def positions(self, count: int) -> Array:
        """Return the first positional encodings [count, D]: sines and cosines alternate."""
        width = self.target.shape[1]
        wavelengths = 10_000.0 ** (np.arange(0, width, 2) / width)
        angles = np.arange(count)[:, None] / wavelengths
        return np.stack([np.sin(angles), np.cos(angles)], -1).reshape(count, width).astype(np.float32)


def read(folder: Path) -> TrainedWeights:
    """Read the weights of a model folder.

    Raises:
        ValueError: the compared toolkits cannot express the model
    """
    model = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))["model"]
    sides = [model[side] for side in ("encoder", "decoder")]
    for side in sides:
        for name, expected in EXPECTED.items():
            if (value := _name(side.get(name, expected))) != expected:
                raise ValueError(f"{folder}: {name} is {value}; only {expected} can be converted")
    attentions = [side.get("attention", {"type": "multihead"}) for side in sides]
    if any(_name(attention) != "multihead" for attention in attentions):
        raise ValueError(f"{folder}: the attention must be multihead")
    heads = {attention.get("heads", 8) for attention in attentions}
    if len(heads) > 1:
        raise ValueError(f"{folder}: encoder and decoder must have the same number of heads")
    tokenizers = sorted((folder / "task").rglob("*.model"))
    if len(tokenizers) != 1:
        raise ValueError(f"{folder}: the model must have one SentencePiece vocabulary")
    layers = (sides[0].get("layers", 6), sides[1].get("layers", 6))
    scaled = model.get("scale_embeddings", True)
    return TrainedWeights(load_file(folder / "model.safetensors"), heads.pop(), layers, scaled, tokenizers[0])


def _name(component: Any) -> Any:
    """Return the name of a component that a recipe sets by name or with settings."""
    return component.get("type") if isinstance(component, Mapping) else component
