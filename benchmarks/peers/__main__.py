"""Compare seqx with other toolkits: training, decoding, preparation, start-up and memory.

    python -m benchmarks.peers --prepare                  # once: environments, text, a trained model
    python -m benchmarks.peers --budget 12m --out peers.json

In each round every toolkit is measured once, in rotated order, and compared with seqx in the same round.
"""

import argparse
import json
import re
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.paths import input_file, model_path, output_file
from benchmarks.peers import parts
from benchmarks.peers.commands import training_commands
from benchmarks.peers.decoding import decoding
from benchmarks.peers.environments import TOOLKITS, default_folder, install, python
from benchmarks.peers.parts import Part, Setting
from benchmarks.peers.report import tables
from benchmarks.peers.rounds import Contestant, FailedRequest
from benchmarks.peers.runs import preparation, startup
from benchmarks.peers.sizes import SIZES
from benchmarks.peers.workload import Text, Workload
from benchmarks.provenance import provenance
from seqx.errors import UserError

SHARES = {
    "training small": 2.0,
    "training base": 3.0,
    "decoding": 4.0,
    "start-up": 0.0,
    "preparation": 0.0,
    "commands small": 0.0,
    "commands base": 0.0,
    "training tiny": 0.0,
    "commands tiny": 0.0,
}
"""The parts, and their shares of the time. Parts without a share are measured only on request."""


def duration(text: str) -> float:
    """Return the seconds of a duration such as 90s, 12m or 1h."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration; write 90s, 12m or 1h")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="benchmarks.peers", description=__doc__, formatter_class=raw)
    parser.add_argument(
        "--folder", type=Path, default=default_folder(), help="folder of all that is prepared"
    )
    parser.add_argument(
        "--peers", nargs="*", choices=TOOLKITS, default=[*TOOLKITS], help="toolkits to compare"
    )
    parser.add_argument(
        "--parts", nargs="+", choices=SHARES, default=[*filter(SHARES.get, SHARES)], help="parts to measure"
    )
    parser.add_argument("--budget", type=duration, default=720.0, help="time of all parts, such as 12m")
    parser.add_argument("--rounds", type=int, default=7, help="maximum number of rounds of a part")
    parser.add_argument("--seconds", type=float, default=4.0, help="seconds of one measurement of training")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of a process")
    parser.add_argument("--size", choices=SIZES, default="base", help="size of the decoded model")
    parser.add_argument("--sentences", type=int, nargs="+", default=[1, 8, 64, 512], help="decoded together")
    parser.add_argument("--beam", type=int, default=4, help="size of the beam")
    parser.add_argument(
        "--files", type=input_file, nargs=2, help="source and target text; default: the sample"
    )
    parser.add_argument("--vocabulary", type=int, default=2000, help="subwords; 8000 or more for real text")
    parser.add_argument("--pairs", type=int, default=20_000, help="maximum number of training pairs")
    parser.add_argument("--updates", type=int, default=1, help="updates of the decoded model; 1: untrained")
    parser.add_argument("--model", type=model_path, help="trained model folder to decode")
    parser.add_argument("--prepare", action="store_true", help="only install and prepare; measure nothing")
    parser.add_argument("--out", type=output_file, help="file for the JSON record")
    return parser


def main() -> None:
    """Prepare, measure, print the tables and write the record."""
    options = _parser().parse_args()
    try:
        _run(options)
    except UserError as error:
        sys.exit(f"benchmarks.peers: {error}")


def _run(options: argparse.Namespace) -> None:
    failures = {name: reason for name in options.peers if (reason := install(options.folder, name))}
    for name, reason in failures.items():
        print(f"{name} cannot be installed: {reason}", file=sys.stderr)
    text = Text(
        files=tuple(options.files) if options.files else None,
        pairs=options.pairs,
        vocabulary=options.vocabulary,
    )
    sizes = [name.partition(" ")[2] for name in options.parts if name.startswith(("training", "commands"))]
    workload = Workload.build(options.folder / f"text-{text.digest}", text, [*sizes, options.size])
    if {"decoding", "start-up"} & {*options.parts} and options.model is None:
        workload.train(options.size, options.updates, options.threads)
    if options.prepare:
        print(f"prepared in {options.folder}")
        return
    setting = Setting(
        environments=options.folder,
        toolkits=[name for name in options.peers if name not in failures],
        workload=workload,
        model=options.model or workload.model(options.size, options.updates),
        is_trained=options.model is not None or options.updates > 1,
        size=options.size,
        threads=options.threads,
        rounds=options.rounds,
        seconds=options.seconds,
    )
    record: dict[str, Any] = {
        "benchmark": "peers",
        **provenance(),
        "threads": options.threads,
        "toolkits": {name: _versions(options.folder, name) for name in setting.toolkits},
        "not_installed": failures,
        "text": repr(text),
        "parts": {},
    }
    _measure(record, _parts(options, setting), options.budget, options.out)
    print("\n".join(tables(record)))


def _parts(options: argparse.Namespace, setting: Setting) -> Mapping[str, Part]:
    found: dict[str, Part] = {}
    for name in options.parts:
        measurement, _, size = name.partition(" ")
        found[name] = {
            "training": partial(parts.training, setting, size),
            "commands": partial(training_commands, setting, size),
            "decoding": partial(decoding, setting, options.sentences, options.beam),
            "preparation": partial(preparation, setting),
            "start-up": partial(startup, setting),
        }[measurement]
    return found


def _measure(record: dict[str, Any], chosen: Mapping[str, Part], budget: float, out: Path | None) -> None:
    """Measure each part within its share of the time that is left; write the record after each of them."""
    end = time.monotonic() + budget
    remaining: Sequence[str] = [*chosen]
    while remaining:
        name, *others = remaining
        start_time = time.monotonic()
        share = (SHARES[name] or 1) / sum(SHARES[other] or 1 for other in remaining)
        try:
            record["parts"][name] = dict(chosen[name](start_time + share * (end - start_time)))
        except FailedRequest as reason:
            record["parts"][name] = {"reason": f"seqx: {reason}"}
        record["parts"][name]["seconds"] = round(time.monotonic() - start_time, 1)
        print(f"{name}: {record['parts'][name]['seconds']} s", file=sys.stderr)
        if out:
            out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        remaining = others


def _versions(folder: Path, name: str) -> Mapping[str, Any]:
    """Return the versions of a toolkit, and the remark about it."""
    toolkit = TOOLKITS[name]
    nothing = {"do": "versions"}
    process = Contestant(name, python(folder, name), toolkit.adapter, nothing, nothing)
    try:
        reply = dict(process.ask(nothing))
    except FailedRequest as reason:
        reply = {"error": str(reason)}
    finally:
        process.close()
    return {**reply, "note": toolkit.note}


if __name__ == "__main__":
    main()
