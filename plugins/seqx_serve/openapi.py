"""The OpenAPI document of a server."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import models_json_schema

import seqx
from seqx_serve import schemas
from seqx_serve.models import AUTO, TRANSLATE, ServedModels

_REFERENCE = "#/components/schemas/{model}"
_RESPONSES = (
    schemas.Detection,
    schemas.TranslateResponse,
    schemas.TargetLanguages,
    schemas.AnswerResponse,
    schemas.ExplainResponse,
    schemas.ModelInfo,
    schemas.Health,
    schemas.Settings,
    schemas.Problem,
)
_PROBLEMS = {
    400: "The request is malformed, or no model answers it",
    403: "The key is missing or wrong",
    408: "The request was not read in time",
    413: "The request has too many bytes",
    415: "The body has another content type",
    422: "The request has too many lines or characters, or an input that the model cannot answer",
    429: "Too many lines are waiting",
    503: "The request was not answered in time, or the server is stopping",
}


def openapi(models: ServedModels, *, needs_key: bool) -> dict[str, Any]:
    """Return the OpenAPI document of a server.

    Args:
        models: the models of the server
        needs_key: true if clients need a key
    """
    _, components = models_json_schema(
        [(schema, "serialization") for schema in _RESPONSES], ref_template=_REFERENCE
    )
    names = {action: models.names(action) for action in (TRANSLATE, *models.actions)}
    choices = {
        "source": [AUTO, *dict.fromkeys(source for source, _ in models.pairs)],
        "target": list(dict.fromkeys(target for _, target in models.pairs)),
        "model": names[TRANSLATE],
    }
    translate = _post("Translate texts", schemas.TranslateRequest, schemas.TranslateResponse, choices)
    detect = _post(
        "Name the source language, if there is only one", schemas.DetectRequest, list[schemas.Detection]
    )
    actions = {
        f"/{action}": _post(
            f"{action.capitalize()} texts",
            schemas.AnswerRequest,
            schemas.AnswerResponse,
            {"model": names[action]},
        )
        for action in models.actions
    }
    explain = _post(
        "Answer a text, and show the search and the attention of the model",
        schemas.ExplainRequest,
        schemas.ExplainResponse,
        {"model": [model.name for model in models]},
    )
    posts = {"/translate": translate, "/detect": detect, "/explain": explain, **actions}
    gets = {
        "/languages": _get("List the languages", list[schemas.TargetLanguages]),
        "/models": _get("List the models", list[schemas.ModelInfo]),
        "/health": _get("Say that the server is running", schemas.Health),
        "/frontend/settings": _get("Return settings for pages", schemas.Settings),
    }
    operations = {
        **{path: {"post": operation} for path, operation in posts.items()},
        **{path: {"get": operation} for path, operation in gets.items()},
    }
    operations["/languages"]["post"] = gets["/languages"]
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "seqx", "version": seqx.__version__},
        "paths": operations,
        "components": {"schemas": components["$defs"]},
    }
    if needs_key:
        document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        for operation in posts.values():
            operation["security"] = [{"key": []}]
    return document


def _post(
    summary: str,
    request: type[BaseModel],
    response: Any,
    choices: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """Return an operation with a body of JSON or of a form.

    Args:
        summary: what the operation does
        request: the fields of the body
        response: the body of the response
        choices: the allowed values of some fields, by name of the field
    """
    schema = request.model_json_schema()
    form = {**schema, "properties": {name: _in_form(field) for name, field in schema["properties"].items()}}
    for name, values in (choices or {}).items():
        for kind in (schema, form):
            field = kind["properties"][name]
            kind["properties"][name] = {**field, "enum": [*values, *([None] if "anyOf" in field else [])]}
    problems = {str(status): _response(text, schemas.Problem) for status, text in _PROBLEMS.items()}
    return {
        "summary": summary,
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": schema},
                "application/x-www-form-urlencoded": {"schema": form},
                "multipart/form-data": {"schema": form},
            },
        },
        "responses": {"200": _response("The answer", response), **problems},
    }


def _in_form(field: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema of a field in a form, which cannot express null and empty lists."""
    kinds = [
        {**kind, "minItems": 1} if kind["type"] == "array" else kind
        for kind in field.get("anyOf", [])
        if kind["type"] != "null"
    ]
    rest = {key: value for key, value in field.items() if key not in ("anyOf", "default")}
    if not kinds:
        return field
    return {**rest, **kinds[0]} if len(kinds) == 1 else {**rest, "anyOf": kinds}


def _get(summary: str, response: Any) -> dict[str, Any]:
    return {"summary": summary, "responses": {"200": _response("The answer", response)}}


def _response(description: str, type_: Any) -> dict[str, Any]:
    """Return the description of a response; its schema refers to the components."""
    if isinstance(type_, type) and issubclass(type_, BaseModel):
        schema: Mapping[str, Any] = {"$ref": _REFERENCE.format(model=type_.__name__)}
    else:
        schema = TypeAdapter(type_).json_schema(ref_template=_REFERENCE)
        schema = {key: value for key, value in schema.items() if key != "$defs"}
    return {"description": description, "content": {"application/json": {"schema": schema}}}
