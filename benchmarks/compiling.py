"""`training.compile` on a CPU: time of an update and of compiling, and memory, with batches of many shapes.

    python -m benchmarks.compiling --out compiling.json

Two processes train the same model on the same batches, one of them with compiled layers. They take turns, one
update each. The ratio of a batch is the time of the update without compiled layers divided by that with them,
so more than 1 means that compiling pays off. The first pass over the batches compiles and is not compared.
"""

import argparse
import json
import multiprocessing
import resource
import statistics
import time
from collections.abc import Iterator, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.corpus import lengths
from benchmarks.peers.adapters.seqx_adapter import training
from benchmarks.peers.sizes import EOS, SIZES, UNK, Pairs, Size
from benchmarks.provenance import provenance
from seqx.runtime.precision import has_bf16

VOCABULARY = 8000


def batches(size: Size, count: int, seed: int = 1) -> list[Pairs]:
    """Return batches of `size.batch_tokens` target tokens, each with sentences of similar length."""
    rng = np.random.default_rng(seed)
    source, target = lengths(rng, 400 * count).T + 1
    order = np.argsort(target, kind="stable")
    found = []
    for part in np.array_split(order, count):
        number = int(np.searchsorted(np.cumsum(target[part]), size.batch_tokens))
        rows = part[: max(1, number)]
        found.append(Pairs(_ids(source[rows], rng), _ids(target[rows], rng)))
    return [found[i] for i in rng.permutation(count)]


def _ids(row_lengths: Any, rng: np.random.Generator) -> Any:
    """Return random ids, with EOS and padding."""
    columns = np.arange(row_lengths.max())
    ids = rng.integers(UNK + 1, VOCABULARY, (len(row_lengths), len(columns)))
    ids[columns == row_lengths[:, None] - 1] = EOS
    ids[columns >= row_lengths[:, None]] = 0
    return ids


def work(pipe: Connection, size: str, precision: Any, compiled: bool, count: int, threads: int) -> None:
    """Train on the batch of each number received, and send back seconds, loss and peak memory in MB."""
    data = batches(SIZES[size], count)
    update = training(SIZES[size], VOCABULARY, threads, precision=precision, compiled=compiled)
    pipe.send(None)
    while (number := pipe.recv()) is not None:
        start = time.perf_counter()
        loss = update(data[number])
        seconds = time.perf_counter() - start
        pipe.send((seconds, loss, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024))


def measure(size: str, precision: str, count: int, rounds: int) -> dict[str, Any]:
    """Return the results of one size and precision."""
    context = multiprocessing.get_context("spawn")
    workers, pipes = [], []
    for compiled in (False, True):
        here, there = context.Pipe()
        arguments = (there, size, precision, compiled, count, torch.get_num_threads())
        workers.append(context.Process(target=work, args=arguments))
        workers[-1].start()
        here.recv()
        pipes.append(here)
    answers: list[list[tuple[float, float, int]]] = [[], []]
    for number in [*range(count)] * (1 + rounds):
        for pipe, found in zip(pipes, answers, strict=True):
            pipe.send(number)
            found.append(pipe.recv())
    for pipe, worker in zip(pipes, workers, strict=True):
        pipe.send(None)
        worker.join()
    plain, compiled_answers = answers
    seconds = [[s for s, _, _ in found] for found in answers]
    ratios = [a / b for a, b in zip(seconds[0][count:], seconds[1][count:], strict=True)]
    first = sum(seconds[1][:count]) - sum(seconds[0][:count])
    return {
        "size": size,
        "precision": precision,
        "shapes": count,
        "plain_seconds": round(statistics.median(seconds[0][count:]), 4),
        "ratio": [round(q, 3) for q in statistics.quantiles(ratios, n=4)],
        "compile_seconds": round(first, 1),
        "peak_mb": [plain[-1][2], compiled_answers[-1][2]],
        "last_losses": [round(plain[-1][1], 4), round(compiled_answers[-1][1], 4)],
    }


def table(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield the table of a record."""
    yield "| model | precision | update, s | compiled: times faster | compiling, s | MB: plain, compiled |"
    yield "|---|---|---|---|---|---|"
    for case in record["results"]:
        low, middle, high = case["ratio"]
        plain, compiled = case["peak_mb"]
        faster = f"{middle:.2f} ({low:.2f} to {high:.2f})"
        yield (
            f"| {case['size']} | {case['precision']} | {case['plain_seconds']:.2f} | {faster} | "
            f"{case['compile_seconds']:.0f} | {plain:,}, {compiled:,} |"
        )


def main() -> None:
    """Measure, print the results and write a record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["small", "base"], choices=SIZES)
    parser.add_argument("--precisions", nargs="+", choices=["fp32", "bf16"])
    parser.add_argument("--shapes", type=int, default=8, help="number of batches, each of another shape")
    parser.add_argument("--rounds", type=int, default=5, help="passes over the batches after the first one")
    parser.add_argument("--out", type=Path, help="file for the JSON record")
    args = parser.parse_args()
    precisions = args.precisions or (["fp32", "bf16"] if has_bf16(torch.device("cpu")) else ["fp32"])
    results = []
    for size in args.sizes:
        for precision in precisions:
            results.append(measure(size, precision, args.shapes, args.rounds))
            print(json.dumps(results[-1]), flush=True)
    record = {**provenance(), "threads": torch.get_num_threads(), "results": results}
    print(*table(record), sep="\n")
    if args.out:
        args.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
