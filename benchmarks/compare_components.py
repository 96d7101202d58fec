"""A comparison of encoders, decoders, attentions and positional encodings after the same number of tokens.

    nohup python -m benchmarks.compare_components --workers 2 --out compare_components.json &

The command trains each profile of recipes/compare_components.yaml. A profile replaces one part of the
sample's Transformer. The command also trains a model with each registered component that no profile uses,
such as a component of another plugin, with the sizes of the sample. If it is stopped, the same command
resumes. Overrides (KEY=VALUE) apply to all runs.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

import seqx
from benchmarks.background import Job, one_thread, report, work
from seqx.commands.loading import load_checked
from seqx.plugin.loading import load_plugins
from seqx.plugin.registry import Component

RECIPE = "compare_components"
ATTENTION = {"type": "multihead", "heads": 4}
STACK = {
    "layers": 2,
    "attention": ATTENTION,
    "feedforward": {"type": "relu", "width": 512},
    "width": 128,
    "dropout": 0.05,
}


@dataclass(frozen=True)
class Slot:
    """The settings of the recipe for the components of an interface, and the sizes of the sample."""

    prefix: str  # of the names of trials
    keys: Sequence[str]
    settings: Mapping[str, Any]  # used if the component has them


SLOTS: Mapping[type, Slot] = {
    seqx.Encoder: Slot("encoder_", ["model.encoder"], STACK),
    seqx.Decoder: Slot("decoder_", ["model.decoder"], STACK),
    seqx.Attention: Slot("", ["model.encoder.attention", "model.decoder.attention"], {"heads": 4}),
    seqx.PositionalEncoding: Slot("", ["model.encoder.positions", "model.decoder.positions"], {}),
}


@dataclass(frozen=True)
class Trial:
    """The recipe with a profile or with overrides."""

    profile: str | None = None
    overrides: tuple[str, ...] = ()

    @property
    def arguments(self) -> list[str]:
        """Arguments of `seqx run`."""
        return [RECIPE, *(["--profile", self.profile] if self.profile else []), *self.overrides]

    @cache  # noqa: B019  the trials live as long as the process
    def parts(self) -> AbstractSet[type]:
        """Return the classes of the modules of the model, built on the meta device."""
        experiment = load_checked(RECIPE, self.profile, self.overrides).configured()
        with torch.device("meta"):
            return {type(module) for module in experiment.model(experiment.task.vocab_sizes).modules()}


def trials() -> dict[str, Trial]:
    """Return the trials by name: the recipe, its profiles, and each component that no profile uses."""
    listed = {"base": Trial(), **{name: Trial(name) for name in load_checked(RECIPE).recipe.profiles}}
    used = set[type]().union(*(trial.parts() for trial in listed.values()))
    registry = load_plugins().registry
    for interface, slot in SLOTS.items():
        for name, component in registry.components(interface).items():
            if component.maker not in used:
                listed[slot.prefix + name] = Trial(overrides=_overrides(interface, component))
    return listed


def _overrides(interface: type, component: Component) -> tuple[str, ...]:
    """Return the overrides that put a component into the recipe."""
    slot = SLOTS[interface]
    settings = {name: value for name, value in slot.settings.items() if name in component.settings}
    value = json.dumps({"type": component.name, **settings})
    # The attention replaces self-attention only, because not every attention supports cross-attention.
    cross = ["model.decoder.cross_attention=" + json.dumps(ATTENTION)] if interface is seqx.Attention else []
    return *(f"{key}={value}" for key in slot.keys), *cross


def faults(listed: Mapping[str, Trial]) -> dict[str, str]:
    """Return the first line of the error of each trial that cannot be built, by name."""
    errors = {}
    for name, trial in listed.items():
        try:
            trial.parts()
        except seqx.UserError as error:
            errors[name] = str(error).splitlines()[0]
    return errors


def main() -> int:
    """Train the unfinished runs and print a table; return 1 if a run failed, else 0."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument(
        "--folder", type=Path, default=Path("runs/compare_components"), help="parent of the run folders"
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", help="trials to run; default: all")
    parser.add_argument(
        "--steps", type=int, default=1600, help="number of updates, of 2,000 target tokens each"
    )
    parser.add_argument("--workers", type=int, default=1, help="runs at the same time, with one thread each")
    parser.add_argument("--out", type=Path, help="file for the JSON record")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    arguments = parser.parse_intermixed_args()
    listed = trials()
    if arguments.only:
        unknown = [name for name in arguments.only if name not in listed]
        if unknown:
            parser.error(f"--only: unknown trials: {', '.join(unknown)}; choose from {', '.join(listed)}")
        listed = {name: listed[name] for name in arguments.only}
    invalid = faults(listed)
    steps = [f"training.{name}={arguments.steps}" for name in ("steps", "validate_every")]
    chosen = [
        Job(name, [*trial.arguments, *steps, *arguments.overrides], arguments.folder / name)
        for name, trial in listed.items()
        if name not in invalid
    ]
    failed = {**invalid, **work(chosen, arguments.workers, one_thread())}
    report(chosen, failed, {"steps": arguments.steps, "overrides": arguments.overrides}, arguments.out)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
