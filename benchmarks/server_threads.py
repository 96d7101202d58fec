"""Throughput and latency of `seqx serve` with different numbers of threads, for models of two sizes.

    seqx run wmt_en_de --profile sample --folder small
    python -m benchmarks.server_threads --small small/model --base base/model --out server_threads.json

The servers run at the same time, and one of them is used at a time. In each round, 1 and 8 clients send
sentences of the test set to each server, each client one request at a time. The clients are threads of this
process, which uses the same processors as the server. Outputs have as many tokens as their inputs, so the
models need not be trained.
"""

import argparse
import contextlib
import itertools
import os
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.paths import model_path, output_file
from benchmarks.provenance import provenance, write_record
from benchmarks.server import direct_answers, read_inputs, serving
from benchmarks.serving import Load

SEARCH = ("search.extra=0", "search.ratio=1")


def measure(
    models: Mapping[str, Path],
    *,
    sentences: int,
    rounds: int,
    seconds: float,
    threads: Sequence[int],
    clients: Sequence[int],
) -> dict[str, Any]:
    """Return the results of each round, by model, number of threads and number of clients."""
    os.environ.pop("OMP_NUM_THREADS", None)
    results: dict[str, dict[str, dict[str, list[Any]]]] = {}
    for name, model in models.items():
        answers = direct_answers(model, read_inputs(model, sentences), precision="fp32", overrides=SEARCH)
        with contextlib.ExitStack() as stack:
            options = ("--precision", "fp32", *SEARCH)
            servers = {
                number: stack.enter_context(serving(model, *options, "--threads", str(number)))
                for number in threads
            }
            for server in servers.values():
                Load(server, answers, max(clients), seconds / 4)  # not recorded
            for _ in range(rounds):
                for count, (number, server) in itertools.product(clients, servers.items()):
                    result = Load(server, answers, count, seconds).result()
                    by_threads = results.setdefault(name, {}).setdefault(str(number), {})
                    by_threads.setdefault(str(count), []).append(result)
    return {"seconds": seconds, "models": results}


def table(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield the table of a record: medians over the rounds, and the range of the ratios to one thread."""
    yield "| model | clients | threads | requests/s | against one thread | median latency | 95% latency |"
    yield "|---|---|---|---|---|---|---|"
    for name, by_threads in record["models"].items():
        first = next(iter(by_threads.values()))
        for clients, threads in itertools.product(first, by_threads):
            results, compared = by_threads[threads][clients], first[clients]
            speed, p50, p95 = (
                statistics.median(result[key] for result in results) for key in ("per_second", "p50", "p95")
            )
            ratios = sorted(
                result["per_second"] / one["per_second"]
                for result, one in zip(results, compared, strict=True)
            )
            ratio = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
            yield f"| {name} | {clients} | {threads} | {speed:.1f} | {ratio} | {p50:.0f} ms | {p95:.0f} ms |"


def main() -> None:
    """Measure, and print or write the record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--small", type=model_path)
    parser.add_argument("--base", type=model_path)
    parser.add_argument("--sentences", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=3, help="duration of each measurement")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="the first must be 1")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--out", type=output_file)
    options = vars(parser.parse_args())
    out, small, base = (options.pop(name) for name in ("out", "small", "base"))
    models = {name: path for name, path in (("small", small), ("base", base)) if path is not None}
    record = {**provenance(), "threads": "varied", **measure(models, **options)}
    write_record(record, out)
    print("\n".join(table(record)))


if __name__ == "__main__":
    main()
