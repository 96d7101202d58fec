"""Soak test of `seqx serve` with slow, disconnecting and hostile clients.

    seqx run wmt_en_de --profile sample
    python -m benchmarks.soak runs/wmt_en_de-sample/model --minutes 30 --out soak.json

Clients of several kinds send requests at the same time, all to a server on this computer:

- `steady` clients send one to four sentences, and compare each answer with the direct answer of a model in
  this process; `slow` clients do the same, but send their requests in small parts and with pauses;
- `flooding` clients send many requests at once, more than the queue holds;
- `leaving` clients close the connection before the answer arrives;
- `silent` clients send the beginning of a request, and nothing more until the server closes the connection;
- `hostile` clients send malformed requests and requests above the limits.

A request of the first three kinds must be answered with the direct answer or, while the queue is full, be
refused with a reason; a request without a response counts as lost. At the end the server gets SIGTERM while
it answers requests. It must answer them and exit with code 0. The record has the numbers of each kind, and
the memory of the server over time.
"""

import argparse
import contextlib
import json
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch

from benchmarks.paths import model_path, output_file
from benchmarks.provenance import provenance, write_record
from benchmarks.server import Client, Server, direct_answers, read_inputs, serving

LIMITS = {
    "--max-queue": "60", "--max-lines": "20", "--max-characters": "4000", "--max-body": "20000",
    "--timeout": "30", "--idle-timeout": "3", "--max-connections": "100", "--batch-lines": "16",
}  # fmt: skip
SAMPLES = 120  # of the memory
CLIENT_COUNTS = {"steady": 6, "slow": 3, "flooding": 1, "leaving": 2, "silent": 2, "hostile": 2}
"""The number of threads of each kind of client."""

JSON = "Content-Type: application/json"
FORM = "Content-Type: application/x-www-form-urlencoded"
HOSTILE: Sequence[tuple[str, bytes]] = (
    (JSON, b"{"),
    (JSON, b"[" * 15_000),
    (JSON, b'{"q": "\\ud800", "source": "en", "target": "de"}'),
    (JSON, b'{"q": 1e999999, "source": [], "target": {}}'),
    (JSON, json.dumps({"q": "x\n" * 30, "source": "en", "target": "de"}).encode()),
    (JSON, json.dumps({"q": "x" * 5_000, "source": "en", "target": "de"}).encode()),
    (JSON, json.dumps({"q": "<b " * 1_300, "source": "en", "target": "xx", "format": "html"}).encode()),
    (JSON, b"x" * 30_000),
    (JSON, b"\xff\xfe"),
    (FORM, b"q=\xff&source=en"),
    (FORM, b"&".join([b"q=x"] * 2_000)),
    ("Content-Type: multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n"),
    ("Content-Type: application/octet-stream", b"\0" * 100),
)
"""Headers and bodies of requests that must be refused with a reason."""


class Soak:
    """Clients of all kinds, until the time is over.

    Args:
        server: the server
        answers: the direct answer to each sentence
        seconds: duration
    """

    def __init__(self, server: Server, answers: Mapping[str, str], seconds: float) -> None:
        self.outcomes: dict[str, Counter[str]] = {kind: Counter() for kind in CLIENT_COUNTS}
        self.problems: list[str] = []
        self.memory: list[tuple[float, float]] = []
        self._server = server
        self._answers = answers
        self._sentences = list(answers)
        self._lock = threading.Lock()
        start = time.monotonic()
        self._end = start + seconds
        with ThreadPoolExecutor(sum(CLIENT_COUNTS.values()) + 1) as pool:
            running = [
                pool.submit(self._repeat, kind, number)
                for kind, count in CLIENT_COUNTS.items()
                for number in range(count)
            ]
            while time.monotonic() < self._end:
                self.memory.append((time.monotonic() - start, proportional_memory(server.process.pid)))
                time.sleep(seconds / SAMPLES)
            for future in running:
                future.result()

    def _repeat(self, kind: str, number: int) -> None:
        """Let a client of a kind send requests until the time is over."""
        rng = random.Random(f"{kind} {number}")  # noqa: S311  reproducible, not secret
        send: Callable[[random.Random], Sequence[str]] = getattr(self, f"_{kind}")
        while time.monotonic() < self._end:
            try:
                outcomes = send(rng)
            except Exception as error:  # noqa: BLE001  a lost answer is a result
                outcomes = ["lost"]
                self._note(f"{kind}: {type(error).__name__}: {error}")
            with self._lock:
                self.outcomes[kind].update(outcomes)

    def _note(self, problem: str) -> None:
        with self._lock:
            self.problems.append(problem[:300])

    def _request(self, rng: random.Random) -> tuple[list[str], bytes]:
        """Return random sentences, and the request for their translations."""
        sentences = rng.sample(self._sentences, rng.randint(1, 4))
        body = json.dumps({"q": sentences, "source": "en", "target": "de"}).encode()
        return sentences, request(JSON, body)

    def _outcome(self, sentences: Sequence[str], status: int, answer: Any) -> str:
        """Return "right", "wrong" or the status of a refusal."""
        if status in (429, 503) and answer.get("error"):
            return str(status)
        if status == 200 and answer["translatedText"] == [self._answers[text] for text in sentences]:
            return "right"
        self._note(f"status {status} for {sentences}: {answer}")
        return "wrong"

    def _steady(self, rng: random.Random) -> list[str]:
        client, outcomes = Client(self._server.address), []
        with contextlib.closing(client):
            for _ in range(rng.randint(1, 20)):
                sentences = rng.sample(self._sentences, rng.randint(1, 4))
                status, answer = client.post("/translate", q=sentences, source="en", target="de")
                outcomes.append(self._outcome(sentences, status, answer))
        return outcomes

    def _slow(self, rng: random.Random) -> list[str]:
        sentences, data = self._request(rng)
        with socket.create_connection(self._server.address, timeout=60) as link:
            for first in range(0, len(data), 20):
                link.sendall(data[first : first + 20])
                time.sleep(rng.uniform(0, 0.1))
            status, answer = read_response(link, pause=0.01)
        return [self._outcome(sentences, status, answer)]

    def _flooding(self, rng: random.Random) -> list[str]:
        with ThreadPoolExecutor(30) as pool:

            def send(sentences: list[str]) -> str:
                fields = {"q": sentences, "source": "en", "target": "de"}
                return self._outcome(sentences, *self._server.post("/translate", **fields))

            outcomes = list(pool.map(send, [rng.sample(self._sentences, 4) for _ in range(60)]))
        time.sleep(max(0, min(5, self._end - time.monotonic())))
        return outcomes

    def _leaving(self, rng: random.Random) -> list[str]:
        _, data = self._request(rng)
        with socket.create_connection(self._server.address, timeout=60) as link:
            link.sendall(data if rng.random() < 0.7 else data[: rng.randrange(len(data))])
            time.sleep(rng.uniform(0, 0.2))
        return ["left"]

    def _silent(self, rng: random.Random) -> list[str]:
        _, data = self._request(rng)
        with socket.create_connection(self._server.address, timeout=60) as link:
            link.sendall(data[: rng.randrange(len(data))])
            return ["closed" if is_closed(link) else "open"]

    def _hostile(self, rng: random.Random) -> list[str]:
        time.sleep(rng.uniform(0, 0.02))
        with socket.create_connection(self._server.address, timeout=60) as link:
            if rng.random() < 0.3:  # no HTTP at all
                link.sendall(rng.randbytes(rng.randint(1, 2000)) + b"\r\n\r\n")
                return ["closed" if is_closed(link) else "open"]
            head, body = rng.choice(HOSTILE)
            with contextlib.suppress(ConnectionError):  # the server need not read all of it
                link.sendall(request(head, body))
            status, answer = read_response(link)
        if status in (400, 413, 415, 422) and answer.get("error"):
            return ["refused"]
        self._note(f"hostile: status {status} for {head} {body[:40]!r}: {answer}")
        return ["wrong"]


def request(head: str, body: bytes) -> bytes:
    """Return the bytes of a request to translate."""
    lines = ("POST /translate HTTP/1.1", "Host: localhost", head, f"Content-Length: {len(body)}")
    return "\r\n".join((*lines, "", "")).encode() + body


def read_response(link: socket.socket, pause: float = 0) -> tuple[int, Any]:
    """Read a response with JSON; with a pause, in small parts."""
    data, length = b"", None
    while length is None or len(data) < length:
        part = link.recv(100 if pause else 1 << 16)
        if not part:
            raise ConnectionError("the server closed the connection before the response was complete")
        data += part
        time.sleep(pause)
        head, end, _ = data.partition(b"\r\n\r\n")
        if end and length is None:
            fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
            length = len(head) + len(end) + int(fields[b"content-length"])
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def is_closed(link: socket.socket) -> bool:
    """Wait until the server closes a connection; return false if it does not."""
    try:
        while link.recv(1 << 16):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True


def proportional_memory(process: int) -> float:
    """Return the proportional set size of a process in MiB: a page of n processes counts as 1 / n."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:"))


def stop(server: Server, answers: Mapping[str, str]) -> dict[str, Any]:
    """Stop the server while it answers requests; return its exit code and the outcomes of the requests."""
    sentences = list(islice(cycle(answers), 8))
    with ThreadPoolExecutor(len(sentences) + 1) as pool:
        sent = [
            pool.submit(server.post, "/translate", q=text, source="en", target="de") for text in sentences
        ]
        deadline = time.monotonic() + 10
        while "seqx_waiting_lines 0.0" in server.get("/metrics")[1] and time.monotonic() < deadline:
            if all(future.done() for future in sent):
                break
        code, errors = pool.submit(server.stop).result()
        right = sum(
            future.result()[1].get("translatedText") == answers[text]
            for future, text in zip(sent, sentences, strict=True)
        )
    return {"exit_code": code, "errors": errors, "sent": len(sentences), "right": right}


def measure(model: Path, sentences: int, seconds: float) -> dict[str, Any]:
    """Return the record of a soak test."""
    answers = direct_answers(model, read_inputs(model, sentences), precision="fp32")
    limits = [part for option in LIMITS.items() for part in option]
    with serving(model, "--precision", "fp32", *limits) as server:
        soak = Soak(server, answers, seconds)
        time.sleep(1)
        idle = [line for line in server.get("/metrics")[1].split("\n") if line.startswith("seqx_waiting")]
        stopped = stop(server, answers)
    return {
        "seconds": seconds,
        "sentences": len(answers),
        "limits": LIMITS,
        "clients": CLIENT_COUNTS,
        "outcomes": soak.outcomes,
        "problems": soak.problems[:50],
        "memory_mib": [(round(at, 1), round(size, 1)) for at, size in soak.memory],
        "waiting_at_the_end": idle,
        "stopped": stopped,
    }


def memory_of_tenths(record: Mapping[str, Any]) -> tuple[float, float]:
    """Return the median memory in the second and in the last tenth of the time, in MiB."""
    sizes = [size for _, size in record["memory_mib"]]
    tenth = max(1, len(sizes) // 10)
    second, last = sorted(sizes[tenth : 2 * tenth] or sizes), sorted(sizes[-tenth:])
    return second[len(second) // 2], last[len(last) // 2]


def table(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield the table of a record, and lines about memory and the end."""
    names = ("right", "wrong", "lost", "429", "503", "refused", "closed", "open", "left")
    yield f"| clients | {' | '.join(names)} |"
    yield f"|---|{'---|' * len(names)}"
    for kind, outcomes in record["outcomes"].items():
        cells = (f"{outcomes[name]:,}" if name in outcomes else "" for name in names)
        yield f"| {kind} | {' | '.join(cells)} |"
    second, last = memory_of_tenths(record)
    stopped, minutes = record["stopped"], record["seconds"] / 60
    yield ""
    yield (
        f"{minutes:.0f} minutes. Memory: {second:.0f} MiB in the second tenth of the time, {last:.0f} MiB in "
        f"the last. SIGTERM: {stopped['right']} of {stopped['sent']} requests were answered, exit code "
        f"{stopped['exit_code']}."
    )


def main() -> None:
    """Run the soak test, and print or write the record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=model_path)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--sentences", type=int, default=200)
    parser.add_argument("--out", type=output_file)
    arguments = parser.parse_args()
    origin = {**provenance(), "threads": torch.get_num_threads()}
    record = {**origin, **measure(arguments.model, arguments.sentences, 60 * arguments.minutes)}
    record["versions"] |= {name: version(name) for name in ("starlette", "uvicorn")}
    write_record(record, arguments.out)
    print("\n".join([*table(record), *record["problems"]]))


if __name__ == "__main__":
    main()
