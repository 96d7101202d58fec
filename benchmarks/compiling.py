"""`training.compile` on a CPU: time of an update and of compiling, and memory, with batches of many shapes.

    python -m benchmarks.compiling --out compiling.json

Two processes train the same model on the same batches, one of them with compiled layers. They take turns, one
update each. The ratio of a batch is the time of the update without compiled layers divided by that with them,
so more than 1 means that compiled layers are faster. Times of updates are CPU times, because these depend
less on other processes. The first pass over the batches compiles and is not compared; the time for compiling
is the additional time of this pass.
"""

import argparse
import json
import multiprocessing
import resource
import statistics
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch

from benchmarks.corpus import lengths
from benchmarks.paths import output_file
from benchmarks.peers.adapters.seqx_adapter import training
from benchmarks.peers.sizes import EOS, SIZES, UNK, Pairs, Size
from benchmarks.provenance import provenance, write_record
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


def work(pipe: Connection, size: Size, precision: Any, compiled: bool, count: int, threads: int) -> None:
    """Train on the batch of each number received; send back seconds, CPU seconds, loss and peak MB."""
    data = batches(size, count)
    update = training(size, VOCABULARY, threads, precision=precision, compiled=compiled)
    pipe.send(None)
    while (number := pipe.recv()) is not None:
        start, cpu_start = time.perf_counter(), time.process_time()
        loss = update(data[number])
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
        pipe.send((seconds, cpu_seconds, loss, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024))


def measure(name: str, precision: str, *, tokens: int | None, count: int, rounds: int) -> dict[str, Any]:
    """Return the results of one size and precision."""
    size = SIZES[name] if tokens is None else replace(SIZES[name], batch_tokens=tokens)
    context = multiprocessing.get_context("spawn")
    workers, pipes = [], []
    for compiled in (False, True):
        here, there = context.Pipe()
        arguments = (there, size, precision, compiled, count, torch.get_num_threads())
        workers.append(context.Process(target=work, args=arguments))
        workers[-1].start()
        here.recv()
        pipes.append(here)
    answers: list[list[tuple[float, float, float, int]]] = [[], []]
    for number in [*range(count)] * (1 + rounds):
        for pipe, found in zip(pipes, answers, strict=True):
            pipe.send(number)
            found.append(pipe.recv())
    for pipe, worker in zip(pipes, workers, strict=True):
        pipe.send(None)
        worker.join()
    plain, compiled_answers = answers
    seconds = [[cpu for _, cpu, _, _ in found[count:]] for found in answers]
    ratios = [a / b for a, b in zip(*seconds, strict=True)]
    first_passes = [sum(wall for wall, _, _, _ in found[:count]) for found in answers]
    return {
        "size": name,
        "tokens": size.batch_tokens,
        "precision": precision,
        "shapes": count,
        "plain_seconds": round(statistics.median(seconds[0]), 4),
        "ratio": [round(q, 3) for q in statistics.quantiles(ratios, n=4)],
        "compile_seconds": round(first_passes[1] - first_passes[0], 1),
        "peak_mb": [plain[-1][3], compiled_answers[-1][3]],
        "last_losses": [round(plain[-1][2], 4), round(compiled_answers[-1][2], 4)],
    }


def table(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield the table of a record."""
    yield "| model | precision | update, s | speed, compiled / plain | compiling, s | MB: plain, compiled |"
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
    parser.add_argument("--tokens", type=int, help="target tokens of an update; default: that of the size")
    parser.add_argument("--shapes", type=int, default=8, help="number of batches, each of another shape")
    parser.add_argument("--rounds", type=int, default=5, help="passes over the batches after the first one")
    parser.add_argument("--out", type=output_file, help="file for the JSON record")
    args = parser.parse_args()
    precisions = args.precisions or (["fp32", "bf16"] if has_bf16(torch.device("cpu")) else ["fp32"])
    results = []
    for size in args.sizes:
        for precision in precisions:
            results.append(
                measure(size, precision, tokens=args.tokens, count=args.shapes, rounds=args.rounds)
            )
            print(json.dumps(results[-1]), flush=True)
    record = {**provenance(), "threads": torch.get_num_threads(), "results": results}
    print(*table(record), sep="\n")
    write_record(record, args.out)


if __name__ == "__main__":
    main()
