"""Latency and throughput of `seqx serve`, with its own engine and with CTranslate2.

    seqx run wmt_en_de --profile sample
    python -m benchmarks.serving runs/wmt_en_de-sample/model --out serving.json

All servers run at the same time, and one of them is used at a time. In each round, 1, 8 and 64 clients send
sentences of the test set to each server, each client one request at a time. The server `seqx, one line at a
time` decodes no requests together. Every answer is compared with the direct answer of a model in this
process. The clients are threads of this process, which uses the same processors as the server.
"""

import argparse
import contextlib
import statistics
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import cycle
from pathlib import Path
from typing import Any

from benchmarks.paths import model_path, output_file
from benchmarks.provenance import provenance, write_record
from benchmarks.server import Client, Server, direct_answers, read_inputs, serving

THREADS = 1
"""Threads with which each server computes; on two CPUs this is also the default of `seqx serve`."""

SERVERS: Mapping[str, Sequence[str]] = {
    "seqx, fp32": ("--precision", "fp32"),
    "seqx, fp32, one line at a time": ("--precision", "fp32", "--batch-lines", "1"),
    "engine ctranslate2, fp32": ("--engine", "ctranslate2"),
    "engine ctranslate2, int8": ("--engine", "ctranslate2", "--compute", "int8"),
}


class Load:
    """Clients that send sentences to a server for some seconds.

    Args:
        server: the server
        answers: the direct answer to each sentence
        clients: number of clients
        seconds: after this time no client sends another request
    """

    def __init__(self, server: Server, answers: Mapping[str, str], clients: int, seconds: float) -> None:
        self.latencies: list[float] = []
        self.different = 0
        self._answers = answers
        self._sentences = cycle(answers)
        self._lock = threading.Lock()
        threads = [threading.Thread(target=self._send, args=[server]) for _ in range(clients)]
        start = time.perf_counter()
        self._end = start + seconds
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.seconds = time.perf_counter() - start

    def _send(self, server: Server) -> None:
        client = Client(server.address)
        with contextlib.closing(client):
            while time.perf_counter() < self._end:
                with self._lock:
                    sentence = next(self._sentences)
                start = time.perf_counter()
                status, answer = client.post("/translate", q=sentence, source="auto", target="de")
                latency = time.perf_counter() - start
                assert status == 200, answer
                with self._lock:
                    self.latencies.append(latency)
                    self.different += answer["translatedText"] != self._answers[sentence]

    def result(self) -> dict[str, Any]:
        """Return the requests per second, and the quantiles of the latency in milliseconds."""
        ordered = sorted(self.latencies)
        quantiles = {
            f"p{p}": 1000 * ordered[min(len(ordered) - 1, len(ordered) * p // 100)] for p in (50, 95)
        }
        return {
            "requests": len(ordered),
            "per_second": len(ordered) / self.seconds,
            "different": self.different,
            **quantiles,
        }


def measure(
    model: Path, sentences: int, rounds: int, seconds: float, numbers: Sequence[int]
) -> dict[str, Any]:
    """Return the results of each round, by server and number of clients."""
    answers = direct_answers(model, read_inputs(model, sentences), precision="fp32")
    results: dict[str, dict[str, list[dict[str, Any]]]] = {}
    with contextlib.ExitStack() as stack:
        servers = {
            name: stack.enter_context(serving(model, *options, "--threads", str(THREADS)))
            for name, options in SERVERS.items()
        }
        for server in servers.values():
            Load(server, answers, max(numbers), seconds / 4)  # not recorded
        for _ in range(rounds):
            for name, server in servers.items():
                for clients in numbers:
                    load = Load(server, answers, clients, seconds)
                    results.setdefault(name, {}).setdefault(str(clients), []).append(load.result())
    return {"sentences": len(answers), "seconds": seconds, "servers": results}


def table(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield the table of a record: medians over the rounds, and the range of the ratios."""
    yield "| server | clients | requests/s | against 1 client | median latency | 95% latency | different |"
    yield "|---|---|---|---|---|---|---|"
    for name, by_clients in record["servers"].items():
        one = [result["per_second"] for result in by_clients["1"]]
        for clients, results in by_clients.items():
            speed, p50, p95 = (
                statistics.median(result[key] for result in results) for key in ("per_second", "p50", "p95")
            )
            ratios = sorted(result["per_second"] / first for result, first in zip(results, one, strict=True))
            ratio = f"{statistics.median(ratios):.1f} ({ratios[0]:.1f} to {ratios[-1]:.1f})"
            different, requests = (
                sum(result[key] for result in results) for key in ("different", "requests")
            )
            yield (
                f"| {name} | {clients} | {speed:.1f} | {ratio} | {p50:.0f} ms | {p95:.0f} ms | "
                f"{different} of {requests:,} |"
            )


def main() -> None:
    """Measure, and print or write the record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=model_path)
    parser.add_argument("--sentences", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8, help="duration of each measurement")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64], help="the first must be 1")
    parser.add_argument("--out", type=output_file)
    arguments = parser.parse_args()
    record = {
        **provenance(),
        "threads": THREADS,
        **measure(
            arguments.model, arguments.sentences, arguments.rounds, arguments.seconds, arguments.clients
        ),
    }
    record["versions"] |= {name: version(name) for name in ("ctranslate2", "starlette", "uvicorn")}
    write_record(record, arguments.out)
    print("\n".join(table(record)))


if __name__ == "__main__":
    main()
