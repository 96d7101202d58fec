"""ASGI middleware that counts requests and limits their size."""

import asyncio
import time

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from seqx_serve.metrics import Metrics

CLOSE = {"Connection": "close"}
"""The header of responses to requests that were not read to their end."""


CLIENT_LEFT = 499
"""The status of requests whose client has closed the connection, as in the logs of nginx.

It occurs only in the metrics, because no client reads the response.
"""


class Measured:
    """Middleware that counts the requests of an app and measures their time.

    Args:
        app: the app
        metrics: the counters and histograms
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        is_started = False

        def count(status: int) -> None:
            # Paths without a route are not counted separately: clients could invent any number of them.
            path = scope["path"] if "endpoint" in scope else "other"
            self._metrics.requests.labels(path, status).inc()
            self._metrics.seconds.labels(path).observe(time.perf_counter() - start)

        async def observed(message: Message) -> None:
            nonlocal is_started
            if message["type"] == "http.response.start":
                is_started = True
                count(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, observed)
        except asyncio.CancelledError:  # a second Ctrl-C ends the server at once
            if not is_started:
                await JSONResponse({"error": "the server is stopping"}, 503)(scope, receive, observed)
        except Exception:
            if not is_started:  # Starlette sends the response, outside of this middleware
                count(500)
            raise


class BodyLimit:
    """Middleware that limits the number of bytes of a request.

    Args:
        app: the app; reading a longer body raises an HTTPException in it
        limit: the maximum number of bytes
    """

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        count = 0

        async def counted() -> Message:
            nonlocal count
            message = await receive()
            count += len(message.get("body", b""))
            if count > self._limit:
                raise HTTPException(413, f"the request has more than {self._limit:,} bytes", CLOSE)
            return message

        await self._app(scope, counted, send)
