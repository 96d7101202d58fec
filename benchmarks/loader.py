"""Speed of the loader, without and with sampled segmentations, compared with what training consumes.

    python -m benchmarks.loader --data "$SEQX_DATA" --out loader.json

The text is that of `benchmarks.preparation`. Each loader is measured alone: target tokens/s of the batches
that it yields. Training is measured with the model of `benchmarks.peers` and updates of the same size.
All are measured alternately, in each round.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.growth import training_rate
from benchmarks.paths import output_file, real_text
from benchmarks.peers.sizes import SIZES
from benchmarks.preparation import write_pairs
from benchmarks.provenance import provenance, write_record
from seqx import markdown_table
from seqx.commands.loading import load_checked
from seqx.data.batches import Batches
from seqx.data.loader import BatchLoader
from seqx.data.prepare import cached_vocabulary, no_progress, prepare
from seqx.data.store import Store
from seqx.interfaces.task import Task

GPU, GPU_UPDATE, GPU_TOKENS = "gpu", 25_000, 450_000
"""The name, target tokens per update, and target tokens/s of training that a loader for a GPU must exceed."""

WARM_UPDATES = 12
"""Updates before a measurement; the loader builds up to eight ahead."""


def rate(batches: Batches, seconds: float) -> float:
    """Return the target tokens per second of a loader; its start is not measured."""
    tokens, start_time = 0, 0.0
    with BatchLoader(batches) as loader:
        for number, update in enumerate(loader):
            if number == WARM_UPDATES:
                tokens, start_time = 0, time.perf_counter()
            tokens += update.target_tokens
            if number > WARM_UPDATES and time.perf_counter() - start_time > seconds:
                break
    return tokens / (time.perf_counter() - start_time)


def cases(store: Store, task: Task, tokens: int, processes: list[int]) -> Mapping[str, Batches]:
    """Return the measured loaders by name."""
    common: dict[str, Any] = {"store": store, "tokens": tokens, "microbatch": None}
    return {
        "stored": Batches(**common),
        **{
            f"sampled, {number} process{'es' * (number > 1)}" if number else "sampled": Batches(
                **common, task=task, processes=number
            )
            for number in processes
        },
    }


def measure(
    loaders: Mapping[str, Batches], size: str, rounds: int, seconds: float
) -> Mapping[str, list[float]]:
    """Return the rates of each loader in each round, and those of training, unless it needs a GPU."""
    rates: dict[str, list[float]] = {name: [] for name in loaders}
    for _ in range(rounds):
        if size in SIZES:
            training = training_rate(SIZES[size], seconds, tokens=SIZES[size].batch_tokens)
            rates.setdefault("training", []).append(training)
        for name, batches in loaders.items():
            rates[name].append(rate(batches, seconds))
    return rates


def table(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield a table with a row for each loader and size of the updates."""
    head = ["size", "loader", "target tokens/s", "times training", f"times {GPU_TOKENS:,}/s"]
    rows = []
    for size, rates in record["rates"].items():
        for name, values in rates.items():
            if name == "training":
                continue
            median = statistics.median(values)
            ratio = f"{median / GPU_TOKENS:.2f}"
            rows.append([size, name, f"{median:,.0f}", _ratios(values, rates.get("training", [])), ratio])
    yield from markdown_table(head, rows)


def _ratios(values: Sequence[float], training: Sequence[float]) -> str:
    """Return the median and the range of the ratios within rounds; "-" if training was not measured."""
    ratios = [a / b for a, b in zip(values, training, strict=False)]
    return f"{statistics.median(ratios):,.1f} ({min(ratios):,.1f}-{max(ratios):,.1f})" if ratios else "-"


def main() -> None:
    """Measure, print the table and write the record."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="benchmarks.loader", description=__doc__, formatter_class=raw)
    parser.add_argument("--data", type=real_text, help="folder with real text; default: generated text")
    parser.add_argument("--pairs", type=int, default=50_000, help="number of sentence pairs")
    parser.add_argument("--vocabulary", type=int, default=8000, help="size of the vocabulary")
    parser.add_argument("--model", choices=["bpe", "unigram"], default="bpe", help="model of the tokenizer")
    sizes = [*SIZES, GPU]
    parser.add_argument("--sizes", nargs="+", choices=sizes, default=["small", "base", GPU], help="sizes")
    parser.add_argument("--processes", type=int, nargs="+", default=[0, 1, 2], help="sampling processes")
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds")
    parser.add_argument("--seconds", type=float, default=2.0, help="seconds of each measurement")
    parser.add_argument("--out", type=output_file, help="file for the JSON record")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        overrides = [
            *write_pairs(cache, options.pairs, 1, options.data),
            f"task.tokenizer={{type: sentencepiece, size: {options.vocabulary}, model: {options.model}}}",
            "task.sample_segmentation=true",
        ]
        task = load_checked("wmt_en_de", None, overrides).configured().task
        task.fetch(cache, no_progress)
        task.load(cached_vocabulary(task, {}, cache))
        store = prepare(task, "train", {}, cache)
        rates = {}
        for size in options.sizes:
            tokens = GPU_UPDATE if size == GPU else SIZES[size].batch_tokens
            loaders = cases(store, task, tokens, options.processes)
            rates[size] = measure(loaders, size, options.rounds, options.seconds)
    record = {
        "benchmark": "loader",
        **provenance(),
        "threads": torch.get_num_threads(),
        "pairs": options.pairs,
        "tokenizer": options.model,
        "rates": rates,
    }
    print("\n".join(table(record)))
    write_record(record, options.out)


if __name__ == "__main__":
    main()
