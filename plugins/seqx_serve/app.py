"""The routes of a server: LibreTranslate's API, and the actions of other models."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import seqx
from seqx_serve import schemas
from seqx_serve.batching import Batcher
from seqx_serve.constraints import check_single_lines, constrained, constraints_of, unanswered
from seqx_serve.decoding import Decoder
from seqx_serve.documents import Document, read_document
from seqx_serve.explanations import explanation_of
from seqx_serve.limits import Limits
from seqx_serve.metrics import Metrics
from seqx_serve.middleware import BodyLimit, Measured
from seqx_serve.models import (
    AUTO,
    Answerer,
    Explainer,
    ServedModels,
    UnavailableError,
)
from seqx_serve.openapi import openapi
from seqx_serve.page import page_routes
from seqx_serve.reading import Reader
from seqx_serve.responses import language_name, result_of, translations_of, warnings_of
from seqx_serve.schemas import plain


def create_app(models: ServedModels, limits: Limits, keys: Sequence[str] = ()) -> Starlette:
    """Return the app that answers with some models.

    Args:
        models: the models
        limits: the limits of requests
        keys: the keys of clients; empty: clients need none
    """
    service = Service(models, limits, keys)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        with contextlib.suppress(asyncio.CancelledError):  # by a second Ctrl-C
            yield
            await asyncio.to_thread(service.batcher.stop)

    def route(path: str, answer: Callable[[Request], Awaitable[Response]], *methods: str) -> Route:
        return Route(path, answer, methods=methods)

    return Starlette(
        routes=[
            route("/translate", service.translate, "POST"),
            route("/detect", service.detect, "POST"),
            route("/explain", service.explain, "POST"),
            *(
                route(f"/{action}", partial(service.answer, action=action), "POST")
                for action in models.actions
            ),
            route("/languages", service.languages, "GET", "POST"),  # some clients send POST
            route("/models", service.list_models, "GET"),
            route("/health", service.health, "GET"),
            route("/frontend/settings", service.settings, "GET"),
            route("/metrics", service.metrics_text, "GET"),
            route("/openapi.json", service.openapi, "GET"),
            *page_routes(),
        ],
        middleware=[Middleware(Measured, metrics=service.metrics), Middleware(BodyLimit, limit=limits.body)],
        exception_handlers={HTTPException: _problem, Exception: _internal_error},
        lifespan=lifespan,
    )


class Service:
    """The functions behind the routes.

    Args:
        models: the models
        limits: the limits of requests
        keys: the keys of clients
    """

    def __init__(self, models: ServedModels, limits: Limits, keys: Sequence[str]) -> None:
        self._models = models
        self._limits = limits
        self._needs_key = bool(keys)
        self._reader = Reader(limits, keys)
        self.metrics = Metrics(lambda: self.batcher.waiting)
        self.batcher = Batcher(
            max_batch=limits.batch,
            max_waiting=limits.queue,
            observe=self.metrics.observe_batch,
        )
        self._decoder = Decoder(self.batcher, limits, self.metrics)

    async def translate(self, request: Request) -> Response:
        """Translate one or several texts, as LibreTranslate does."""
        fields = await self._reader.read(request, schemas.TranslateRequest)
        texts = [fields.q] if isinstance(fields.q, str) else fields.q
        try:
            model = self._models.translator(fields.source, fields.target, fields.model)
        except UnavailableError as error:
            raise HTTPException(400, str(error)) from None
        constraints = constraints_of(fields)
        self._reader.check_characters(texts, constraints)
        documents = await _documents(texts, fields.format or "text")
        check_single_lines([document.texts for document in documents], constraints)
        lines = [line for document in documents for line in document.texts]
        self._reader.check_lines(lines)
        answerer = Answerer(model, 1 + fields.alternatives)
        nbests = await self._decoder.decode(request, answerer, constrained(lines, constraints))
        warnings = [*unanswered(lines, nbests, constraints), *warnings_of(nbests)]
        remaining = iter(nbests)
        versions = [
            translations_of(document, [next(remaining) for _ in document.inputs], fields.alternatives)
            for document in documents
        ]
        assert model.languages is not None, "a translator has languages"
        detected = schemas.Detection(language=model.languages[0], confidence=0)
        translated = [best for best, *_ in versions]
        alternatives = [others for _, *others in versions]
        is_list = isinstance(fields.q, list)
        response = schemas.TranslateResponse(
            translated_text=translated if is_list else translated[0],
            alternatives=(alternatives if is_list else alternatives[0]) if fields.alternatives else None,
            detected_language=([detected] * len(texts) if is_list else detected)
            if fields.source == AUTO
            else None,
            warnings=warnings or None,
        )
        return JSONResponse(plain(response))

    async def answer(self, request: Request, action: str) -> Response:
        """Answer one or several inputs with a model that has an action, such as "parse"."""
        fields = await self._reader.read(request, schemas.AnswerRequest)
        texts = [fields.q] if isinstance(fields.q, str) else fields.q
        try:
            model = self._models.find(fields.model, action)
        except UnavailableError as error:
            raise HTTPException(400, str(error)) from None
        constraints = constraints_of(fields)
        self._reader.check_characters(texts, constraints)
        self._reader.check_lines(texts)
        inputs = constrained(texts, constraints)
        nbests = await self._decoder.decode(request, Answerer(model, fields.nbest), inputs)
        warnings = [*unanswered(texts, nbests, constraints), *warnings_of(nbests)]
        results = [result_of(model, text, nbest) for text, nbest in zip(texts, nbests, strict=True)]
        return JSONResponse(plain(schemas.AnswerResponse(results=results, warnings=warnings or None)))

    async def explain(self, request: Request) -> Response:
        """Answer one input with any model, and return the steps of the search and the attention, too."""
        fields = await self._reader.read(request, schemas.ExplainRequest)
        try:
            model = self._models.find(fields.model)
        except UnavailableError as error:
            raise HTTPException(400, str(error)) from None
        wanted = replace(constraints_of(fields), input=fields.q)
        self._reader.check_characters([fields.q], wanted)
        nbest, maps, reasons = seqx.NBest(), None, list[str]()
        try:
            ((nbest, maps),) = await self._decoder.decode(request, Explainer(model, fields.nbest), [wanted])
            unanswered([fields.q], [nbest], wanted)
        except HTTPException as error:
            if error.status_code != 422 or not wanted.constrained:
                raise
            reasons = [error.detail]
        # Converting thousands of numbers to JSON takes long, so a thread does it.
        return await asyncio.to_thread(
            lambda: JSONResponse(plain(explanation_of(model, fields.q, nbest, maps, reasons)))
        )

    async def detect(self, request: Request) -> Response:
        """Return the source language of the models, if all of them have the same one."""
        await self._reader.read(request, schemas.DetectRequest)
        try:
            language = self._models.detect()
        except UnavailableError as error:
            raise HTTPException(400, str(error)) from None
        return JSONResponse([plain(schemas.Detection(language=language, confidence=0))])

    async def languages(self, _: Request) -> Response:
        """Return all languages, each with the languages into which the models translate it."""
        targets: dict[str, list[str]] = {}
        for source, target in self._models.pairs:
            targets.setdefault(source, []).append(target)
            targets.setdefault(target, [])
        return JSONResponse(
            [
                plain(schemas.TargetLanguages(code=code, name=language_name(code), targets=others))
                for code, others in targets.items()
            ]
        )

    async def list_models(self, _: Request) -> Response:
        """Return the names of the models, with their actions and languages."""
        infos = []
        for model in self._models:
            source, target = model.languages or (None, None)
            infos.append(
                schemas.ModelInfo(
                    name=model.name,
                    action=model.action,
                    source=source,
                    target=target,
                    constraints=model.predictor.task.accepts_constraints,
                )
            )
        return JSONResponse([plain(info) for info in infos])

    async def health(self, _: Request) -> Response:
        """Say that the server is running."""
        return JSONResponse(plain(schemas.Health(status="ok")))

    async def settings(self, _: Request) -> Response:
        """Return the settings that clients of LibreTranslate ask for."""
        pair = next(iter(self._models.pairs), None)
        names = [schemas.LanguageName(code=code, name=language_name(code)) for code in pair or ()]
        settings = schemas.Settings(
            char_limit=self._limits.characters,
            frontend_timeout=500,
            api_keys=self._needs_key,
            key_required=self._needs_key,
            suggestions=False,
            files_translation=False,
            supported_files_format=[],
            language=schemas.DefaultLanguages(source=names[0], target=names[1]) if names else None,
        )
        return JSONResponse(settings.model_dump(by_alias=True))

    async def metrics_text(self, request: Request) -> Response:
        """Return the metrics. If the server has keys, the request needs one."""
        self._reader.check_key(request)
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def openapi(self, _: Request) -> Response:
        """Return the OpenAPI document."""
        return JSONResponse(openapi(self._models, needs_key=self._needs_key))


async def _documents(texts: Sequence[str], format_: Literal["text", "html"]) -> Sequence[Document]:
    """Return the documents of the texts. HTML pages are read in a thread, because parsing them can take long.

    Raises:
        HTTPException: a page cannot be read
    """
    if format_ == "text":
        return [read_document(text, format_) for text in texts]
    try:
        return await asyncio.to_thread(lambda: [read_document(text, format_) for text in texts])
    except ValueError as error:
        raise HTTPException(422, str(error)) from None


async def _problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _internal_error(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": f"{type(error).__name__} in the server; its log has the details"}, 500)
