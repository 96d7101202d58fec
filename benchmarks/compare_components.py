"""A sweep over encoders, decoders, attentions and positional encodings, with the same number of tokens.

    python -m benchmarks.compare_components components
    seqx sweep components/components.yaml --jobs 2
    python -m benchmarks.record_sweep components/components.yaml --out compare_components.json

The first command writes a recipe and a sweep over its profiles. These are the profiles of
recipes/compare_components.yaml, each of which replaces one part of the sample's Transformer, and one for each
registered component that no profile uses, such as a component of another plugin, with the sizes of the
sample. A sweep cannot list installed components itself.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

import seqx
from seqx.commands.loading import load_checked
from seqx.plugin.loading import load_plugins
from seqx.plugin.registry import Component
from seqx.runtime.meta_device import meta_device

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


@dataclass(frozen=True, eq=False)
class Trial:
    """The recipe with a profile, or with settings by dotted keys."""

    profile: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @cache  # noqa: B019  the trials live as long as the process
    def parts(self) -> AbstractSet[type]:
        """Return the classes of the modules of the model, built on the meta device."""
        overrides = [f"{key}={json.dumps(value)}" for key, value in self.settings.items()]
        experiment = load_checked(RECIPE, self.profile, overrides).configured()
        with meta_device():
            return {type(module) for module in experiment.model(experiment.task.vocab_sizes).modules()}

    def profile_text(self) -> dict[str, Any]:
        """Return the settings as a profile, nested."""
        profile: dict[str, Any] = {}
        for path, value in self.settings.items():
            *parents, last = path.split(".")
            section = profile
            for name in parents:
                section = section.setdefault(name, {})
            section[last] = value
        return profile


def trials() -> dict[str, Trial]:
    """Return the trials by name: the recipe, its profiles, and each component that no profile uses."""
    listed = {"base": Trial(), **{name: Trial(name) for name in load_checked(RECIPE).recipe.profiles}}
    used = set[type]().union(*(trial.parts() for trial in listed.values()))
    registry = load_plugins().registry
    for interface, slot in SLOTS.items():
        for name, component in registry.components(interface).items():
            if component.maker not in used:
                listed[slot.prefix + name] = Trial(settings=_settings(interface, component))
    return listed


def _settings(interface: type, component: Component) -> Mapping[str, Any]:
    """Return the settings that put a component into the recipe."""
    slot = SLOTS[interface]
    settings = {name: value for name, value in slot.settings.items() if name in component.settings}
    value = {"type": component.name, **settings}
    # The attention replaces self-attention only, because not every attention supports cross-attention.
    cross = {"model.decoder.cross_attention": ATTENTION} if interface is seqx.Attention else {}
    return {**dict.fromkeys(slot.keys, value), **cross}


def faults(listed: Mapping[str, Trial]) -> dict[str, str]:
    """Return the first line of the error of each trial that cannot be built, by name."""
    errors = {}
    for name, trial in listed.items():
        try:
            trial.parts()
        except seqx.UserError as error:
            errors[name] = str(error).splitlines()[0]
    return errors


def write_sweep(folder: Path, listed: Mapping[str, Trial]) -> Path:
    """Write a recipe with a profile for each component, and a sweep over these profiles; return the sweep."""
    folder.mkdir(parents=True, exist_ok=True)
    profiles = {name: trial.profile_text() for name, trial in listed.items() if trial.settings}
    recipe = {"extends": RECIPE, "profiles": profiles}
    sweep = {
        "recipe": "profiles.yaml",
        "profile": [None if name == "base" else name for name in listed],
        "settings": {"training.steps": 1600, "training.validate_every": 1600},
    }
    for name, content in (("profiles", recipe), ("components", sweep)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return folder / "components.yaml"


def main() -> int:
    """Write the sweep; return 1 if a component cannot be built, else 0."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("folder", type=Path, help="folder for the recipe and the sweep")
    listed = trials()
    invalid = faults(listed)
    valid = {name: trial for name, trial in listed.items() if name not in invalid}
    print(write_sweep(parser.parse_args().folder, valid))
    for name, reason in invalid.items():
        print(f"{name}: left out: {reason}", file=sys.stderr)
    return 1 if invalid else 0


if __name__ == "__main__":
    sys.exit(main())
