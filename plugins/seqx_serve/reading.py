"""Reading and checking of requests. Each error is a response with its reason."""

import asyncio
import hmac
import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

import seqx
from seqx_serve import schemas
from seqx_serve.limits import Limits
from seqx_serve.middleware import CLIENT_LEFT, CLOSE

_MAX_FIELDS = 1000

R = TypeVar("R", bound=schemas.Request)


class Reader:
    """Reads the fields of requests.

    Args:
        limits: the limits of the server
        keys: the keys of clients; empty: clients need none
    """

    def __init__(self, limits: Limits, keys: Sequence[str]) -> None:
        self._limits = limits
        self._keys = [key.encode() for key in keys]

    async def read(self, request: Request, schema: type[R]) -> R:
        """Return the checked fields of a request with a valid key.

        Raises:
            HTTPException: the request is refused
        """
        try:
            async with asyncio.timeout(self._limits.idle_seconds):
                fields, is_json = await _fields(request)
        except TimeoutError:
            raise HTTPException(408, "the request was not received in time", CLOSE) from None
        except ClientDisconnect:
            raise HTTPException(CLIENT_LEFT, "the client left") from None
        key = fields.get("api_key")
        self.check_key(request, key if isinstance(key, str) else "")
        try:
            checked = schema.model_validate(fields, strict=is_json)
        except ValidationError as error:
            raise HTTPException(400, _first_problem(error)) from None
        _check_unicode(fields)
        return checked

    def check_key(self, request: Request, key: str = "") -> None:
        """Check the key of a client.

        Args:
            request: a request, which may have the header `Authorization: Bearer KEY`
            key: the value of the field `api_key`; empty: use the header

        Raises:
            HTTPException: the key is not one of the keys of the server
        """
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        used = (key or (token.strip() if scheme.lower() == "bearer" else "")).encode(errors="replace")
        matches = [hmac.compare_digest(used, known) for known in self._keys]  # all of them, in constant time
        if self._keys and not any(matches):
            raise HTTPException(403, "the API key is wrong or missing; set api_key to one of this server")

    def check_characters(self, texts: Sequence[str], constraints: seqx.Request) -> None:
        """Check the number of characters of a request, including the characters of its constraints.

        Raises:
            HTTPException: there are too many
        """
        counted = [*texts, constraints.prefix, *constraints.require, *constraints.forbid]
        _check_count(sum(map(len, counted)), self._limits.characters, "characters")

    def check_lines(self, lines: Sequence[str]) -> None:
        """Check the number of inputs of a request, which must also fit into the queue.

        Raises:
            HTTPException: there are too many
        """
        _check_count(len(lines), min(self._limits.lines, self._limits.queue), "lines")


def _check_count(count: int, limit: int, unit: str) -> None:
    if count > limit:
        raise HTTPException(422, f"the request has {count:,} {unit}; at most {limit:,} are allowed")


async def _fields(request: Request) -> tuple[Mapping[str, Any], bool]:
    """Return the fields of a request, and true if they are JSON."""
    content = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content == "application/json" or content.endswith("+json"):
        return _json_fields(await request.body()), True
    is_multipart = content == "multipart/form-data"
    if not is_multipart and content not in ("application/x-www-form-urlencoded", ""):
        raise HTTPException(415, f"the content type is {content}; send application/json or a form")
    try:
        body, query = (await request.body()).decode(), request.scope["query_string"].decode()
        pairs = _pairs(query) + ([] if is_multipart else _pairs(body))
    except ValueError as error:
        raise HTTPException(400, f"the body or the query is not a form in UTF-8 ({error})") from None
    if not is_multipart and body.lstrip().startswith("{"):
        name = content or "missing"
        raise HTTPException(
            400, f"the body is JSON, but its content type is {name}; send Content-Type: application/json"
        )
    if is_multipart:
        async with request.form(max_files=0, max_fields=_MAX_FIELDS) as form:
            pairs += form.multi_items()
    fields: dict[str, Any] = {}
    for name, value in pairs:
        values = fields.get(name)
        fields[name] = (
            value if values is None else [*([values] if isinstance(values, str) else values), value]
        )
    return fields, False


def _pairs(text: str) -> list[tuple[str, Any]]:
    """Return the names and values of a form or a query.

    Raises:
        ValueError: it is not UTF-8, or has too many fields
    """
    return [*parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="strict")]


def _json_fields(body: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"the body is not JSON ({error})") from None
    if not isinstance(value, dict):
        raise HTTPException(400, "the body is not a JSON object")
    return value


def _first_problem(error: ValidationError) -> str:
    """Return the first problem of a request in one line.

    If a field accepts several types, such as a text or a list, pydantic reports a problem for each type. The
    problem of the type that the client sent is returned: the one that is not about a wrong type, or that is
    about an item of the list.
    """
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    field = problems[0]["loc"][:1]
    same = [problem for problem in problems if problem["loc"][:1] == field]
    problem = min(same, key=lambda each: (each["type"].endswith("_type"), -len(each["loc"])))
    name = str(field[0]) if field else "the request"
    item = problem["loc"][-1] if problem["loc"][1:] else None
    where = f"{name}: item {item + 1}" if isinstance(item, int) else name
    return f"{where}: {problem['msg']}"


def _check_unicode(fields: Mapping[str, Any]) -> None:
    """Refuse unpaired surrogates, which JSON can contain, but UTF-8 cannot encode."""
    try:
        for value in fields.values():
            for text in value if isinstance(value, list) else [value]:
                if isinstance(text, str):
                    text.encode()
    except UnicodeEncodeError:
        raise HTTPException(400, "a text has half of a surrogate pair; send valid Unicode") from None
