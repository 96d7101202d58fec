"""Sizes of the compared models, the settings of training that are the same for all, and the batches."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

PAD, BOS, EOS, UNK = 0, 1, 2, 3
DROPOUT = 0.1
SMOOTHING = 0.1
LEARNING_RATE = 1e-4
BETAS = (0.9, 0.98)
EPSILON = 1e-9


@dataclass(frozen=True)
class Size:
    """The size of a Transformer; encoder and decoder have the same number of layers."""

    d_model: int
    layers: int
    heads: int
    width: int  # of the feed-forward networks
    batch_tokens: int  # target tokens per update

    @property
    def overrides(self) -> list[str]:
        """The settings of a recipe of seqx that give this size."""
        sides = ("encoder", "decoder")
        return [
            f"model.d_model={self.d_model}",
            *(f"model.{side}.layers={self.layers}" for side in sides),
            *(f"model.{side}.attention.heads={self.heads}" for side in sides),
            *(f"model.{side}.feedforward.width={self.width}" for side in sides),
            *(f"model.{side}.dropout={DROPOUT}" for side in sides),
        ]


SIZES = {
    "base": Size(512, 6, 8, 2048, 1250),
    "small": Size(256, 3, 4, 1024, 2500),
    "tiny": Size(32, 1, 2, 64, 200),
}
"""Base is the model of Vaswani et al. 2017. Its updates are smaller, because they take seconds on a CPU."""


class Pairs(NamedTuple):
    """The examples of an update: right-padded ids with EOS, [B, S] and [B, T]."""

    source: NDArray[np.int64]
    target: NDArray[np.int64]

    @property
    def tokens(self) -> int:
        """The number of target tokens."""
        return int((self.target != PAD).sum())


def write_batches(file: Path, batches: list[Pairs]) -> None:
    """Write batches to a file that `read_batches` reads."""
    arrays: dict[str, Any] = {}
    for i, pairs in enumerate(batches):
        arrays |= {f"source{i}": pairs.source, f"target{i}": pairs.target}
    np.savez(file, **arrays)


def read_batches(file: Path) -> list[Pairs]:
    """Read the batches of a file."""
    with np.load(file) as arrays:
        return [Pairs(arrays[f"source{i}"], arrays[f"target{i}"]) for i in range(len(arrays) // 2)]
