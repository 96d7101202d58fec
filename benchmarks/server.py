"""Servers of trained models in processes of their own, and clients that keep their connections."""

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import seqx

TIMEOUT = 90


class Client:
    """A connection that is used for several requests, and opened again if the server has closed it."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._connection = http.client.HTTPConnection(*address, timeout=TIMEOUT)

    def send(
        self, method: str, path: str, body: str | bytes | None = None, **headers: str
    ) -> tuple[int, Any]:
        """Send a request; return the status and the body of the response, which is parsed if it is JSON."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request(method, path, body, names)
        response = self._connection.getresponse()
        text = response.read().decode()
        is_json = response.getheader("content-type", "").startswith("application/json")
        return response.status, json.loads(text) if is_json else text

    def post(self, path: str, **fields: Any) -> tuple[int, Any]:
        """Send fields as JSON."""
        return self.send("POST", path, json.dumps(fields), Content_Type="application/json")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


@dataclass(frozen=True)
class Server:
    """A running server."""

    process: "subprocess.Popen[str]"
    url: str

    @property
    def address(self) -> tuple[str, int]:
        """The host and the port."""
        parts = urlsplit(self.url)
        assert parts.hostname
        assert parts.port
        return parts.hostname, parts.port

    def send(self, *arguments: Any, **headers: str) -> tuple[int, Any]:
        """Send one request, as `Client.send` does."""
        client = Client(self.address)
        try:
            return client.send(*arguments, **headers)
        finally:
            client.close()

    def get(self, path: str, **headers: str) -> tuple[int, Any]:
        """Send a GET request."""
        return self.send("GET", path, **headers)

    def post(self, path: str, **fields: Any) -> tuple[int, Any]:
        """Send fields as JSON."""
        return self.send("POST", path, json.dumps(fields), Content_Type="application/json")

    def stop(self) -> tuple[int, str]:
        """Stop the server; return its exit code and what it wrote to standard error."""
        self.process.send_signal(signal.SIGTERM)
        _, errors = self.process.communicate(timeout=TIMEOUT)
        return self.process.returncode, errors


@contextmanager
def serving(
    *arguments: str | Path, start: Callable[..., "subprocess.Popen[str]"] | None = None
) -> Iterator[Server]:
    """Run `seqx serve` on a free port of this computer.

    Args:
        arguments: arguments of the command
        start: starts the process, with the arguments of `subprocess.Popen`, which is the default
    """
    command = [sys.executable, "-m", "seqx", "serve", *map(str, arguments), "--port", "0"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = (start or subprocess.Popen)(
        command, text=True, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        line = next((line for line in process.stdout if line.startswith("listening on ")), None)
        if line is None:
            raise seqx.UserError(process.stderr.read())
        yield Server(process, line.removeprefix("listening on ").partition(";")[0])
    finally:
        process.kill()
        process.communicate()


def read_inputs(model: Path, number: int) -> list[str]:
    """Return the first inputs of the test split of a model's corpus, each once."""
    task = seqx.load(model, device="cpu").task
    task.fetch(Path.cwd(), lambda *_: None, splits=("test",))
    inputs: Sequence[str] = task.inputs(task.read_split("test"))
    return list(dict.fromkeys(inputs))[:number]


def direct_answers(model: Path, sentences: Sequence[str], **options: Any) -> dict[str, str]:
    """Return the answers of a model that is loaded in this process."""
    predictor = seqx.load(model, device="cpu", **options)
    return dict(zip(sentences, predictor(sentences), strict=True))
