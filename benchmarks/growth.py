"""Growth of the cost of training, decoding, preparation and planning with one quantity at a time.

    python -m benchmarks.growth --seconds 3 --out growth.json --draw growth.svg

Training: target tokens/s of the small model of `benchmarks.peers`, on generated sentences of one length,
against target tokens per update, length, width of the model and vocabulary. Decoding: sentences/s against
the size of the beam. Preparation and planning: pairs/s against the number of pairs.

The exponent is fitted to all points: if a unit (a token, a sentence or a pair) costs the same at every
value, it is 0; a cost that doubles whenever the quantity doubles has the exponent 1. Drawing needs the
extra `draw` (matplotlib).
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.complexity import exponent
from benchmarks.corpus import lengths
from benchmarks.decoding import VOCABULARY, TokenIds, timed
from benchmarks.gpu.recipes import experiment, model
from benchmarks.paths import output_file
from benchmarks.peers.adapters.seqx_adapter import training
from benchmarks.peers.sizes import EOS, SIZES, UNK, Pairs, Size
from benchmarks.preparation import measure, write_pairs
from benchmarks.provenance import provenance, write_record
from seqx import markdown_table
from seqx.commands.loading import load_checked
from seqx.data.plan import plan
from seqx.data.prepare import cached_vocabulary, no_progress
from seqx.errors import UserError
from seqx.inference import Predictor
from seqx_search import Beam

TOKENS, LENGTH, SYMBOLS = 2000, 25, 8000
"""Target tokens per update, sentence length and vocabulary, where they are not varied."""

VALUES: Mapping[str, Sequence[int]] = {
    "tokens": (500, 1000, 2000, 4000, 8000),
    "length": (12, 25, 50, 100, 200),
    "width": (64, 128, 256, 512),
    "vocabulary": (2000, 4000, 8000, 16000, 32000),
    "beam": (1, 2, 4, 8, 16),
    "preparation": (10_000, 20_000, 40_000, 80_000),
    "planning": (100_000, 400_000, 1_600_000, 6_400_000),
}
"""The values of each quantity."""

UNITS = {"beam": "sentences/s", "preparation": "pairs/s", "planning": "pairs/s"}
"""The unit that is counted per second; in training, target tokens."""


def training_rate(
    size: Size, seconds: float, *, tokens: int = TOKENS, length: int = LENGTH, symbols: int = SYMBOLS
) -> float:
    """Return the target tokens per second of seqx's training loop; the first update is not measured."""
    rng = np.random.default_rng(1)
    ids = rng.integers(UNK + 1, symbols, (2, max(1, tokens // length), length))
    ids[:, :, -1] = EOS
    pairs = Pairs(ids[0], ids[1])
    update = training(size, symbols, torch.get_num_threads())
    update(pairs)
    start_time, count = time.perf_counter(), 0
    while not count or time.perf_counter() - start_time < seconds:
        update(pairs)
        count += 1
    return count * pairs.tokens / (time.perf_counter() - start_time)


def decoding_rate(size: Size, beam: int, lines: int) -> float:
    """Return the sentences per second of a model with random weights; outputs are as long as inputs."""
    torch.manual_seed(1)
    network = model(experiment("wmt_en_de", size.overrides), VOCABULARY).eval()
    task, search = TokenIds(), Beam(size=beam, extra=0)
    predictor = Predictor(task, network, search, device=torch.device("cpu"))
    texts = [" ".join(map(str, range(UNK + 1, UNK + LENGTH))) for _ in range(lines)]
    return timed(predictor, texts)[0]["lines_per_second"]


def preparation_rate(pairs: int) -> float:
    """Return the pairs per second of encoding generated text with one process; learning is not measured."""
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        overrides = write_pairs(cache, pairs, 1)
        task = load_checked("wmt_en_de", None, [*overrides, "task.tokenizer.size=2000"]).configured().task
        task.fetch(cache, no_progress)
        task.load(cached_vocabulary(task, {}, cache))
        return float(measure(task, cache, 1)["lines_per_second"])


def planning_rate(pairs: int) -> float:
    """Return the pairs per second of planning an epoch."""
    sides = lengths(np.random.default_rng(1), pairs).astype(np.int32).T
    columns = dict(zip(("source", "target"), sides, strict=True))
    start_time = time.perf_counter()
    plan(columns, tokens=25_000, groups=8, seed=1, epoch=0)
    return pairs / (time.perf_counter() - start_time)


def measurements(size: Size, seconds: float) -> Mapping[str, Callable[[int], float]]:
    """Return the function that measures each quantity."""
    return {
        "tokens": lambda value: training_rate(size, seconds, tokens=value),
        "length": lambda value: training_rate(size, seconds, length=value),
        "width": lambda value: training_rate(replace(size, d_model=value, width=4 * value), seconds),
        "vocabulary": lambda value: training_rate(size, seconds, symbols=value),
        "beam": lambda value: decoding_rate(size, value, lines=max(2, round(4 * seconds))),
        "preparation": preparation_rate,
        "planning": planning_rate,
    }


def growth(values: Sequence[int], rates: Sequence[float]) -> float | None:
    """Return the exponent with which the cost of a unit grows; None with less than two values."""
    return exponent(values, [1 / rate for rate in rates], last=len(values)) if len(values) > 1 else None


def table(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield a table with a row for each quantity."""
    rows = []
    for name, result in record["quantities"].items():
        points = ", ".join(
            f"{value:,}: {rate:,.4g}" for value, rate in zip(result["values"], result["rates"], strict=True)
        )
        fitted = result["exponent"]
        rows.append([name, result["unit"], points, "-" if fitted is None else f"n^{fitted:.2f}"])
    yield from markdown_table(["n", "unit", "rate at n", "cost of a unit"], rows)


def draw(record: Mapping[str, Any], file: Path) -> None:
    """Draw the rate against each quantity, whose scale is logarithmic.

    Raises:
        UserError: matplotlib is not installed
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415  optional dependency
    except ModuleNotFoundError:
        raise UserError("--draw needs matplotlib: pip install matplotlib") from None
    quantities = record["quantities"]
    columns = min(4, len(quantities))
    rows = -(-len(quantities) // columns)
    figure = Figure(figsize=(3.2 * columns, 2.8 * rows), layout="constrained")
    subplots = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for axes, (name, result) in zip(subplots, quantities.items(), strict=False):
        axes.plot(result["values"], result["rates"], marker="o")
        axes.set(title=name, ylabel=result["unit"], xscale="log")
        axes.set_ylim(bottom=0)
        axes.minorticks_off()
        axes.set_xticks(result["values"], [f"{value:,}" for value in result["values"]], rotation=30)
        axes.grid(visible=True, alpha=0.3)
    for unused in subplots[len(quantities) :]:
        unused.set_visible(False)
    figure.savefig(file)


def main() -> None:
    """Measure, print the table, and write the record and the drawing if options ask for them."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="benchmarks.growth", description=__doc__, formatter_class=raw)
    names = ", ".join(VALUES)
    parser.add_argument("quantities", nargs="*", metavar="QUANTITY", help=f"any of {names}; default: all")
    parser.add_argument("--size", choices=SIZES, default="small", help="size of the model")
    parser.add_argument("--seconds", type=float, default=3.0, help="seconds of a measurement of training")
    parser.add_argument("--divide", type=int, default=1, help="divide all values, for a short run")
    parser.add_argument("--out", type=output_file, help="file for the JSON record")
    parser.add_argument("--draw", type=output_file, help="file for the drawing: .svg, .png or .pdf")
    options = parser.parse_args()
    for name in options.quantities:
        if name not in VALUES:
            parser.error(f"{name} is not a quantity; name any of {names}")
    measure_quantity = measurements(SIZES[options.size], options.seconds)
    about = {"benchmark": "growth", **provenance(), "threads": torch.get_num_threads(), "size": options.size}
    record: dict[str, Any] = {**about, "quantities": {}}
    for name in options.quantities or VALUES:
        values = list(dict.fromkeys(max(1, value // options.divide) for value in VALUES[name]))
        rates = [measure_quantity[name](value) for value in values]
        result = {"unit": UNITS.get(name, "target tokens/s"), "values": values, "rates": rates}
        record["quantities"][name] = {**result, "exponent": growth(values, rates)}
        print(f"{name}: measured", file=sys.stderr)
        write_record(record, options.out)
    print("\n".join(table(record)))
    if options.draw:
        draw(record, options.draw)


if __name__ == "__main__":
    main()
