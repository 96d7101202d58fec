"""The page on which people try the models of a server, and the attention that it shows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from seqx_serve import schemas

_MAX_WEIGHTS = 500_000
_TYPES = {"index.html": "text/html", "page.css": "text/css", "page.js": "text/javascript"}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def page_routes() -> Sequence[Route]:
    """Return the routes of the page and of its files, which are read once."""
    return [
        Route("/" if name == "index.html" else f"/{name}", _file(name, media_type))
        for name, media_type in _TYPES.items()
    ]


def _file(name: str, media_type: str) -> Any:
    content = (Path(__file__).parent / name).read_bytes()

    async def send(_: Request) -> Response:
        return Response(content, media_type=media_type, headers=_HEADERS)

    return send


def attention_maps(attention: Any) -> list[schemas.AttentionMap]:
    """Return the maps of `seqx.Predictor.attention` with the symbols of their rows and columns.

    Raises:
        HTTPException: there are too many weights for a response
    """
    count = sum(layer.weights.numel() for layer in attention.maps.values())
    if count > _MAX_WEIGHTS:
        raise HTTPException(422, f"there are {count:,} attention weights; shorten the text")
    return [
        schemas.AttentionMap(
            name=name,
            queries=layer.queries,
            keys=layer.keys,
            query_symbols=list(attention.query_symbols[layer.queries]),
            key_symbols=list(attention.key_symbols[layer.keys]),
            weights=[[[round(w, 4) for w in row] for row in head] for head in layer.weights[0].tolist()],
        )
        for name, layer in attention.maps.items()
    ]
