"""A run, as its callbacks see it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from seqx.training.settings import Training


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training run, from a recipe to a score."""

    name: str  # the recipe's, with its profile
    folder: Path
    training: Training
    done: int  # updates made by earlier starts
    parameters: int
    device: str
    precision: Literal["bf16", "fp32"]
    examples: int  # in training
    tokens: int  # target tokens of one epoch
    updates: int  # of one epoch
    dropped: Mapping[str, int] = field(default_factory=dict)  # rows of the corpus by the reason
    leaks: Mapping[str, int] = field(default_factory=dict)  # training rows found in dev or test, by kind

    @property
    def steps(self) -> int:
        """Updates that the run is to make."""
        return self.training.steps
