"""A process that trains or decodes with one toolkit, in the environment of that toolkit.

    python -m benchmarks.peers.worker MODULE

MODULE is an adapter. Each line of standard input is a request as a JSON object, and each line of standard
output its reply. The field `do` is a method of `Worker`; the other fields are its arguments. Every reply has
the process's peak memory. If the request fails, the reply has the field `error`.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.peers.sizes import SIZES, Pairs, read_batches

Decode = Callable[[Sequence[str]], list[str]]
"""Translate lines."""

Update = Callable[[Pairs], float]
"""Make one update of the weights; return the loss per target token."""


class Worker:
    """The state between requests: the adapter, and what it was prepared for."""

    def __init__(self, adapter: str) -> None:
        self.adapter = import_module(adapter)
        self.batches: list[Pairs] = []
        self.update: Update | None = None
        self.decode: Decode | None = None

    def versions(self) -> Mapping[str, Any]:
        """Return the versions of the toolkit and of its numerical library."""
        return {"versions": self.adapter.versions()}

    def prepare_training(
        self, *, size: str, vocabulary: int, batches: str, threads: int, options: Any
    ) -> Mapping[str, Any]:
        """Build a model with random weights."""
        self.batches = read_batches(Path(batches))
        self.update = self.adapter.training(SIZES[size], vocabulary, threads, **options)
        return {}

    def train(self, *, first: int, count: int) -> Mapping[str, Any]:
        """Make `count` updates, beginning with batch `first`; after the last batch the first one follows."""
        assert self.update is not None, "prepare_training was requested before"
        chosen = [self.batches[i % len(self.batches)] for i in range(first, first + count)]
        start_time = time.perf_counter()
        losses = [self.update(pairs) for pairs in chosen]
        seconds = time.perf_counter() - start_time
        tokens = sum(pairs.tokens for pairs in chosen)
        return {"seconds": seconds, "units": tokens, "rate": tokens / seconds, "loss": losses[-1]}

    def prepare_decoding(self, *, model: str, beam: int, threads: int, options: Any) -> Mapping[str, Any]:
        """Load a trained model of seqx, converted if necessary."""
        self.decode = self.adapter.decoding(Path(model), beam=beam, threads=threads, **options)
        return {}

    def translate(self, *, lines: list[str], at_once: int, keep: bool = False) -> Mapping[str, Any]:
        """Translate lines, `at_once` in each call; with `keep`, return the translations."""
        assert self.decode is not None, "prepare_decoding was requested before"
        start_time = time.perf_counter()
        calls = [lines[i : i + at_once] for i in range(0, len(lines), at_once)]
        answers = [answer for call in calls for answer in self.decode(call)]
        seconds = time.perf_counter() - start_time
        reply = {"seconds": seconds, "units": len(lines), "rate": len(lines) / seconds}
        return reply | ({"answers": answers} if keep else {})

    def score(self, *, model: str, pairs: list[tuple[str, str]]) -> Mapping[str, Any]:
        """Return the log-probability of each target, given its source, to check the conversion of a model."""
        return {"logprobs": self.adapter.logprobs(Path(model), pairs)}


def peak_mb() -> int:
    """Return the peak memory of this process in MB; `getrusage` would include the process that started it."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))


def serve(worker: Worker, requests: Any, replies: Any) -> None:
    """Answer requests until the input ends."""
    for line in requests:
        request = json.loads(line)
        try:
            reply = dict(getattr(worker, request.pop("do"))(**request))
        except Exception as error:  # noqa: BLE001  the error belongs into the record
            reply = {"error": f"{type(error).__name__}: {error}"[:500]}
        reply["peak_mb"] = peak_mb()
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def main() -> None:
    """Serve standard input; what libraries print goes to standard error."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as replies:
        os.dup2(2, 1)
        serve(Worker(sys.argv[1]), sys.stdin, replies)


if __name__ == "__main__":
    main()
