"""Every encoder, decoder, attention and positional encoding that is registered, trained on as many tokens.

    nohup python -m benchmarks.kinds --workers 2 --out kinds.json &

Each takes its kind's place in the sample's Transformer (`wmt_en_de --profile sample`); an attention that of
self-attention, because not every one can look at another sequence. Plugins that are installed take part by
themselves. Given again, the command goes on where it was stopped; more settings may follow as KEY=VALUE.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import seqx
from benchmarks.background import Job, one_thread, told, work
from seqx.commands.opening import opened
from seqx.experiment import parameters
from seqx.plugins import load
from seqx.registry import Component

RECIPE = ["wmt_en_de", "--profile", "sample"]
ATTENTION = {"type": "multihead", "heads": 4}
STACK = {
    "layers": 2,
    "attention": ATTENTION,
    "feedforward": {"type": "relu", "width": 512},
    "width": 128,
    "dropout": 0.05,
}
PLACES: Mapping[type, tuple[list[str], Mapping[str, Any]]] = {
    seqx.Encoder: (["model.encoder"], STACK),
    seqx.Decoder: (["model.decoder"], STACK),
    seqx.Attention: (["model.encoder.attention", "model.decoder.attention"], {"heads": 4}),
    seqx.PositionalEncoding: (["model.encoder.positions", "model.decoder.positions"], {}),
}
"""Where a component of each kind goes, and what it is set to if it has such settings: the sample's sizes."""
SETTINGS: Mapping[tuple[type, str], Mapping[str, Any]] = {
    (seqx.Attention, "restricted"): {"window": 4},  # the sample's sentences have 13 tokens or so
    (seqx.PositionalEncoding, "combined"): {"encodings": ["sinusoidal", "rotary"]},
}
"""What single components need besides."""


def kinds() -> dict[str, list[str]]:
    """The overrides that put each component in its place, by `KIND-NAME`."""
    registry = load().registry
    return {
        f"{kind.__name__}-{name}": _overrides(kind, component)
        for kind in PLACES
        for name, component in registry.components(kind).items()
    }


def _overrides(kind: type, component: Component) -> list[str]:
    places, sizes = PLACES[kind]
    settings = {name: value for name, value in sizes.items() if name in component.settings}
    made = {"type": component.name, **settings, **SETTINGS.get((kind, component.name), {})}
    cross = ["model.decoder.cross_attention=" + json.dumps(ATTENTION)] if kind is seqx.Attention else []
    return [*(f"{place}={json.dumps(made)}" for place in places), *cross]


def faults(listed: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Why some cannot be built, by their names: what they need and SETTINGS lacks, as a rule."""
    found = {}
    for name, overrides in listed.items():
        try:
            parameters(opened(RECIPE[0], RECIPE[-1], overrides).made())
        except seqx.UserError as error:
            found[name] = str(error).splitlines()[0]
    return found


def main() -> int:
    """Train what is not trained yet, and print a table; exit code 1 when something failed."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--folder", type=Path, default=Path("runs/kinds"), help="of the runs")
    parser.add_argument("--only", nargs="+", metavar="KIND-NAME", help="some of them")
    parser.add_argument("--steps", type=int, default=1600, help="updates, of 2,000 target tokens each")
    parser.add_argument("--workers", type=int, default=1, help="trained at a time, each by one thread")
    parser.add_argument("--out", type=Path, help="where a JSON record goes")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    arguments = parser.parse_intermixed_args()
    listed = kinds()
    if arguments.only:
        unknown = [name for name in arguments.only if name not in listed]
        if unknown:
            parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(listed)}")
        listed = {name: listed[name] for name in arguments.only}
    unfit = faults(listed)
    often = [f"training.{name}={arguments.steps}" for name in ("steps", "validate_every")]
    chosen = [
        Job(name, [*RECIPE, *overrides, *often, *arguments.overrides], arguments.folder / name)
        for name, overrides in listed.items()
        if name not in unfit
    ]
    failed = {**unfit, **work(chosen, arguments.workers, one_thread())}
    told(chosen, failed, {"steps": arguments.steps, "overrides": arguments.overrides}, arguments.out)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
