"""Decoding of the inputs of a request, while its client waits."""

import asyncio
from collections.abc import Sequence
from itertools import chain
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request

import seqx
from seqx_serve.batching import Batcher, Decode, QueueFullError, StoppedError, characters_of, estimated_tokens
from seqx_serve.limits import Limits
from seqx_serve.metrics import Metrics
from seqx_serve.middleware import CLIENT_LEFT
from seqx_serve.models import Answerer, InputSplitter

_RETRY = {"Retry-After": "1"}
_LONG = 500  # characters; shorter inputs are not split before they are decoded


class Decoder:
    """Decodes the inputs of a request in batches, together with the inputs of other requests.

    Args:
        batcher: the queue of inputs
        limits: the limits of requests
        metrics: the counters of lines and characters
    """

    def __init__(self, batcher: Batcher, limits: Limits, metrics: Metrics) -> None:
        self._batcher = batcher
        self._limits = limits
        self._metrics = metrics

    async def decode(
        self, request: Request, decode: Answerer, texts: Sequence[str | seqx.Request]
    ) -> Sequence[Any]:
        """Return the answers to the inputs of a request. If its client leaves, waiting inputs are removed.

        Long inputs are split first, so that their parts can be decoded together with other inputs.

        Raises:
            HTTPException: the queue is full, the time is over, or an input cannot be answered
        """
        end = asyncio.get_running_loop().time() + self._limits.seconds
        lengths = [*map(characters_of, texts)]
        is_long = [length > _LONG for length in lengths]
        long = [text for text, chosen in zip(texts, is_long, strict=True) if chosen]
        split = iter(await self._awaited(request, InputSplitter(decode.model), long, end) if long else ())
        parts = [next(split) if chosen else None for chosen in is_long]
        inputs = [[text] if part is None else part.requests for text, part in zip(texts, parts, strict=True)]
        tokens = [
            [estimated_tokens(text)] if part is None else part.lengths
            for text, part in zip(texts, parts, strict=True)
        ]
        flat, flat_tokens = [*chain.from_iterable(inputs)], [*chain.from_iterable(tokens)]
        found = iter(await self._awaited(request, decode, flat, end, lines=len(texts), lengths=flat_tokens))
        groups = [[next(found) for _ in group] for group in inputs]
        self._metrics.lines.labels(decode.model.name).inc(len(texts))
        self._metrics.characters.labels(decode.model.name).inc(sum(lengths))
        return [
            group[0] if part is None else decode.join(part, group)
            for part, group in zip(parts, groups, strict=True)
        ]

    async def _awaited(
        self, request: Request, decode: Decode, texts: Sequence[Any], end: float, **options: Any
    ) -> Sequence[Any]:
        """Return the results of the batcher for some texts.

        Args:
            request: the request of the client
            decode: the function that is called with the texts
            texts: the texts
            end: the time of the event loop, in seconds, at which waiting ends
            options: further arguments of `Batcher.submit`

        Raises:
            HTTPException: as in `decode`
        """
        try:
            submitted = self._batcher.submit(decode, texts, **options)
        except QueueFullError:
            raise HTTPException(429, "too many lines are waiting; try again later", _RETRY) from None
        except StoppedError:
            raise HTTPException(503, "the server is stopping", _RETRY) from None
        answers: asyncio.Future[Any] = asyncio.wrap_future(submitted)
        left: asyncio.Future[Any] = asyncio.create_task(_disconnect(request))
        try:
            seconds = max(0.0, end - asyncio.get_running_loop().time())
            await asyncio.wait([answers, left], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if answers.done():
                results: Sequence[Any] = answers.result()
                return results
            if left.done():
                raise HTTPException(CLIENT_LEFT, "the client left")
            raise HTTPException(503, f"there was no answer in {self._limits.seconds:g} seconds", _RETRY)
        except seqx.UserError as error:
            raise HTTPException(422, str(error)) from None
        finally:
            answers.cancel()
            left.cancel()


async def _disconnect(request: Request) -> None:
    """Return when the client has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
