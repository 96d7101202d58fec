"""The process of a server: its socket, its connections, and the signals that stop it."""

import asyncio
import json
import math
import signal
import socket
from collections.abc import Sequence
from types import FrameType

import click
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

import seqx
from seqx_serve.app import create_app
from seqx_serve.limits import Limits
from seqx_serve.models import ServedModels

_FULL = """\
HTTP/1.1 503 Service Unavailable
Content-Type: application/json
Content-Length: {length}
Connection: close

"""


def run(models: ServedModels, limits: Limits, *, host: str, port: int, keys: Sequence[str]) -> None:
    """Answer requests until SIGTERM or SIGINT; then answer the requests that were accepted.

    Raises:
        UserError: the address cannot be used
    """
    config = uvicorn.Config(
        create_app(models, limits, keys),
        http=_protocol(limits),
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        timeout_keep_alive=math.ceil(limits.idle_seconds),
        timeout_graceful_shutdown=math.ceil(limits.seconds) + 1,
    )
    with _bound(host, port) as listener:
        for model in models:
            languages = "" if model.languages is None else f" {'-'.join(model.languages)}"
            click.echo(f"{model.name}: {model.action}{languages}")
        shown = f"[{host}]" if ":" in host else host
        click.echo(f"listening on http://{shown}:{listener.getsockname()[1]}; Ctrl-C stops the server")
        # When uvicorn has stopped, it raises the signal again. Without these handlers, the process would then
        # end with an error.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        _Server(config).run(sockets=[listener])


class _Server(uvicorn.Server):
    """A server that any second signal ends at once. The server of uvicorn accepts only SIGINT for this."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop after the first signal, and at once after the second one."""
        super().handle_exit(signal.SIGINT if self.should_exit else sig, frame)


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        raise seqx.UserError(
            f"{host}:{port}: cannot be used ({error.strerror}); choose another --host or --port"
        ) from None
    # asyncio sets this option only for sockets that it creates. Without it, responses wait 40 ms for an
    # acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _protocol(limits: Limits) -> type[asyncio.Protocol]:
    """Return a protocol that limits the number of connections and their idle time.

    uvicorn itself limits the time between two requests, but not the time before the first one.
    """

    class Connection(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > limits.connections:
                body = json.dumps({"error": "too many connections are open; try again later"}).encode()
                head = _FULL.format(length=len(body)).replace("\n", "\r\n")
                transport.write(head.encode() + body)
                transport.close()
                return
            self.loop.call_later(limits.idle_seconds, self._close_if_idle, None)

        def _close_if_idle(self, last: object) -> None:
            """Close the connection if it has had no request since the last call."""
            if self.transport.is_closing():
                return
            if self.cycle is last and (last is None or self.cycle.response_complete):
                self.transport.close()
            else:
                self.loop.call_later(limits.idle_seconds, self._close_if_idle, self.cycle)

    return Connection
