"""Servers in processes of their own, and requests to them."""

import http.client
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.forked import Forked


@dataclass(frozen=True)
class Server:
    """A running server."""

    process: Forked
    url: str

    @property
    def address(self) -> tuple[str, int]:
        """The host and the port."""
        parts = urlsplit(self.url)
        assert parts.hostname
        assert parts.port
        return parts.hostname, parts.port

    def send(
        self, method: str, path: str, body: str | bytes | None = None, **headers: str
    ) -> tuple[int, Any]:
        """Send a request; return the status and the body of the response, which is parsed if it is JSON."""
        connection = http.client.HTTPConnection(*self.address, timeout=60)
        try:
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, names)
            response = connection.getresponse()
            text = response.read().decode()
            is_json = response.getheader("content-type", "").startswith("application/json")
            return response.status, json.loads(text) if is_json else text
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> tuple[int, Any]:
        """Send a GET request."""
        return self.send("GET", path, **headers)

    def post(self, path: str, **fields: Any) -> tuple[int, Any]:
        """Send fields as JSON."""
        return self.send("POST", path, json.dumps(fields), Content_Type="application/json")

    def stop(self) -> tuple[int, str]:
        """Stop the server; return its exit code and what it wrote to standard error."""
        self.process.send_signal(signal.SIGTERM)
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors


@contextmanager
def serving(*arguments: str | Path, before: Callable[[], None] = lambda: None) -> Iterator[Server]:
    """Run `seqx serve` on a free port, in a fork of this process.

    Args:
        arguments: arguments of the command
        before: function that the fork calls first
    """
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = Forked(
        ["serve", *arguments, "--port", "0"],
        before,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        line = next((line for line in process.stdout if line.startswith("listening on ")), None)
        assert line is not None, process.stderr.read()
        yield Server(process, line.removeprefix("listening on ").partition(";")[0])
    finally:
        process.kill()
        process.communicate()
