"""Every encoder, decoder, attention and positional encoding, trained on as many tokens.

    nohup python -m benchmarks.kinds --workers 2 --out kinds.json &

These are the profiles of recipes/kinds.yaml, each of which changes one thing in the sample's Transformer, and
whatever else is registered: plugins that are installed take part by themselves, with the sample's sizes.
Given again, the command goes on where it was stopped; more settings may follow as KEY=VALUE.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import seqx
from benchmarks.background import Job, one_thread, told, work
from seqx.commands.loading import load_checked
from seqx.plugin.loading import load_plugins
from seqx.plugin.registry import Component

RECIPE = "kinds"
ATTENTION = {"type": "multihead", "heads": 4}
STACK = {
    "layers": 2,
    "attention": ATTENTION,
    "feedforward": {"type": "relu", "width": 512},
    "width": 128,
    "dropout": 0.05,
}


@dataclass(frozen=True)
class Place:
    """Where components of a kind go, and what is set of them, where they have it: the sample's sizes."""

    prefix: str
    keys: Sequence[str]
    settings: Mapping[str, Any]


PLACES: Mapping[type, Place] = {
    seqx.Encoder: Place("encoder_", ["model.encoder"], STACK),
    seqx.Decoder: Place("decoder_", ["model.decoder"], STACK),
    seqx.Attention: Place("", ["model.encoder.attention", "model.decoder.attention"], {"heads": 4}),
    seqx.PositionalEncoding: Place("", ["model.encoder.positions", "model.decoder.positions"], {}),
}


@dataclass(frozen=True)
class Trial:
    """The recipe with something in its place."""

    profile: str | None = None
    overrides: Sequence[str] = ()

    @property
    def arguments(self) -> list[str]:
        """What stands behind `seqx run`."""
        return [RECIPE, *(["--profile", self.profile] if self.profile else []), *self.overrides]

    def parts(self) -> set[type]:
        """The classes that its model is made of, which is built without memory for it."""
        experiment = load_checked(RECIPE, self.profile, self.overrides).made()
        with torch.device("meta"):
            return {type(module) for module in experiment.model(experiment.task.vocab_sizes).modules()}


def trials() -> dict[str, Trial]:
    """By their names: the recipe as it is, its profiles, and each component that none of these has."""
    found = {"base": Trial(), **{name: Trial(name) for name in load_checked(RECIPE).recipe.profiles}}
    used = set[type]().union(*(trial.parts() for trial in found.values()))
    registry = load_plugins().registry
    for kind, place in PLACES.items():
        for name, component in registry.components(kind).items():
            if component.maker not in used:
                found[place.prefix + name] = Trial(overrides=_overrides(kind, component))
    return found


def _overrides(kind: type, component: Component) -> list[str]:
    place = PLACES[kind]
    settings = {name: value for name, value in place.settings.items() if name in component.settings}
    made = json.dumps({"type": component.name, **settings})
    # An attention takes the place of self-attention: not every one can look at another sequence.
    cross = ["model.decoder.cross_attention=" + json.dumps(ATTENTION)] if kind is seqx.Attention else []
    return [*(f"{key}={made}" for key in place.keys), *cross]


def faults(listed: Mapping[str, Trial]) -> dict[str, str]:
    """Why some cannot be built, by their names."""
    found = {}
    for name, trial in listed.items():
        try:
            trial.parts()
        except seqx.UserError as error:
            found[name] = str(error).splitlines()[0]
    return found


def main() -> int:
    """Train what is not trained yet, and print a table; exit code 1 when something failed."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--folder", type=Path, default=Path("runs/kinds"), help="of the runs")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="some of them")
    parser.add_argument("--steps", type=int, default=1600, help="updates, of 2,000 target tokens each")
    parser.add_argument("--workers", type=int, default=1, help="trained at a time, each by one thread")
    parser.add_argument("--out", type=Path, help="where a JSON record goes")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    arguments = parser.parse_intermixed_args()
    listed = trials()
    if arguments.only:
        unknown = [name for name in arguments.only if name not in listed]
        if unknown:
            parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(listed)}")
        listed = {name: listed[name] for name in arguments.only}
    unfit = faults(listed)
    often = [f"training.{name}={arguments.steps}" for name in ("steps", "validate_every")]
    chosen = [
        Job(name, [*trial.arguments, *often, *arguments.overrides], arguments.folder / name)
        for name, trial in listed.items()
        if name not in unfit
    ]
    failed = {**unfit, **work(chosen, arguments.workers, one_thread())}
    told(chosen, failed, {"steps": arguments.steps, "overrides": arguments.overrides}, arguments.out)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
