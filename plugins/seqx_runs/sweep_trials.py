"""The configurations and trials of a sweep."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge
from pydantic import BaseModel, ConfigDict

import seqx

_MAX_NAME = 80  # characters of the name of a run folder


class Halving(BaseModel):
    """Successive halving: stop bad trials after `steps` updates, then after `factor` times as many, ...

    The best 1 / `factor` of the configurations continue.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    steps: Annotated[int, Ge(1)]
    factor: Annotated[int, Ge(2)] = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Configuration:
    """A recipe with a profile and settings; its trials differ only in their seeds."""

    recipe: str  # as the file of the sweep has it
    recipe_file: str  # the argument of `seqx run`
    profile: str | None
    settings: Mapping[str, Any]
    varied: Mapping[str, Any]
    """The values that differ between the configurations of the sweep, by short names."""

    def __str__(self) -> str:
        return ", ".join(f"{name}={value_text(value)}" for name, value in self.varied.items()) or self.recipe


@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """One run of a sweep."""

    configuration: Configuration
    seed: int | None
    sweep_folder: Path

    @property
    def arguments(self) -> list[str]:
        """The arguments of `seqx run`, without the folder."""
        chosen = self.configuration
        profile = ["--profile", chosen.profile] if chosen.profile is not None else []
        return [chosen.recipe_file, *profile, *self.overrides]

    @property
    def overrides(self) -> list[str]:
        """The settings as KEY=VALUE."""
        seed = {} if self.seed is None else {"training.seed": self.seed}
        settings = {**self.configuration.settings, **seed}
        return [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in settings.items()]

    @cached_property
    def folder(self) -> Path:
        """The run folder. Its name ends with a digest of all settings, so that an edited sweep finds it."""
        identity = [self.configuration.recipe, self.configuration.profile, *self.overrides]
        digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:8]
        existing = sorted((self.sweep_folder / "trials").glob(f"*-{digest}"))
        name = re.sub(r"[^\w.+=]+", "-", str(self)).strip("-")[:_MAX_NAME]
        return existing[0] if existing else self.sweep_folder / "trials" / f"{name}-{digest}"

    @property
    def is_resumable(self) -> bool:
        """True if the run has a checkpoint."""
        return any(self.folder.glob("checkpoints/[0-9]*"))

    @cached_property
    def checked(self) -> seqx.CheckedRecipe:
        """The recipe, loaded and checked at the first use: an edit while the trial runs changes nothing.

        Raises:
            RecipeError: the recipe has problems
        """
        chosen = self.configuration
        return seqx.load_checked(chosen.recipe_file, chosen.profile, self.overrides)

    @property
    def log(self) -> Path:
        """The file with the output of the run."""
        return self.sweep_folder / "logs" / f"{self.folder.name}.log"

    def __str__(self) -> str:
        return str(self.configuration) + ("" if self.seed is None else f", seed={self.seed}")


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """All trials of a sweep."""

    name: str
    configurations: Sequence[Configuration]
    seeds: Sequence[int | None]
    baseline: Configuration
    halving: Halving | None
    folder: Path

    @cached_property
    def trials(self) -> Sequence[Trial]:
        """The trials, seed by seed, so that all configurations have results early."""
        return [
            Trial(configuration=each, seed=seed, sweep_folder=self.folder)
            for seed in self.seeds
            for each in self.configurations
        ]

    @cached_property
    def _by_configuration(self) -> Mapping[Configuration, list[Trial]]:
        found: dict[Configuration, list[Trial]] = {each: [] for each in self.configurations}
        for trial in self.trials:
            found[trial.configuration].append(trial)
        return found

    def of(self, configuration: Configuration) -> list[Trial]:
        """Return the trials of a configuration."""
        return self._by_configuration[configuration]


def value_text(value: Any) -> str:
    """Return a short text of a value of a recipe."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
