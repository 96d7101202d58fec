"""The page on which people try the models of a server."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

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
