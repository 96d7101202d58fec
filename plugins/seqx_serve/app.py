"""The routes of a server: LibreTranslate's API, and the actions of other models."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Literal

from babel import Locale, UnknownLocaleError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import seqx
from seqx_serve import schemas
from seqx_serve.batching import Batcher, QueueFullError, StoppedError
from seqx_serve.documents import Document, read_document
from seqx_serve.limits import Limits
from seqx_serve.metrics import Metrics
from seqx_serve.middleware import CLIENT_LEFT, BodyLimit, Measured
from seqx_serve.models import AUTO, ServedModel, ServedModels, UnavailableError
from seqx_serve.openapi import openapi
from seqx_serve.reading import Reader
from seqx_serve.schemas import plain

_RETRY = {"Retry-After": "1"}


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
        yield
        await asyncio.to_thread(service.batcher.stop)

    def route(path: str, answer: Callable[[Request], Awaitable[Response]], method: str = "POST") -> Route:
        return Route(path, answer, methods=[method])

    return Starlette(
        routes=[
            route("/translate", service.translate),
            route("/detect", service.detect),
            *(route(f"/{action}", partial(service.answer, action=action)) for action in models.actions),
            route("/languages", service.languages, "GET"),
            route("/models", service.list_models, "GET"),
            route("/health", service.health, "GET"),
            route("/frontend/settings", service.settings, "GET"),
            route("/metrics", service.metrics_text, "GET"),
            route("/openapi.json", service.openapi, "GET"),
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
            self._decode,
            max_batch=limits.batch,
            max_waiting=limits.queue,
            observe=self.metrics.observe_batch,
        )

    async def translate(self, request: Request) -> Response:
        """Translate one or several texts, as LibreTranslate does."""
        fields = await self._reader.read(request, schemas.TranslateRequest)
        texts = [fields.q] if isinstance(fields.q, str) else fields.q
        try:
            model = self._models.translator(fields.source, fields.target, fields.model)
        except UnavailableError as error:
            raise HTTPException(400, str(error)) from None
        self._reader.check_characters(texts)
        documents = await _documents(texts, fields.format or "text")
        lines = [line for document in documents for line in document.texts]
        self._reader.check_lines(lines)
        nbests = await self._answers(request, model, lines, 1 + fields.alternatives)
        remaining = iter(nbests)
        versions = [
            _versions(document, [next(remaining) for _ in document.inputs], fields.alternatives)
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
            warnings=_warnings(nbests),
        )
        return JSONResponse(plain(response))

    async def answer(self, request: Request, action: str) -> Response:
        """Answer one or several inputs with a model of an action."""
        fields = await self._reader.read(request, schemas.AnswerRequest)
        texts = [fields.q] if isinstance(fields.q, str) else fields.q
        try:
            model = self._models.find(action, fields.model)
        except UnavailableError as error:
            raise HTTPException(400, str(error)) from None
        self._reader.check_characters(texts)
        self._reader.check_lines(texts)
        nbests = await self._answers(request, model, texts, fields.nbest)
        structure = model.predictor.task.structure
        results = [
            schemas.Result(
                input=text,
                answers=[
                    schemas.Answer(
                        text=answer,
                        score=hypothesis.score,
                        logprob=hypothesis.logprob,
                        **structure(answer),  # type: ignore[arg-type]  # further parts
                    )
                    for answer, hypothesis in nbest
                ],
            )
            for text, nbest in zip(texts, nbests, strict=True)
        ]
        return JSONResponse(plain(schemas.AnswerResponse(results=results, warnings=_warnings(nbests))))

    async def detect(self, request: Request) -> Response:
        """Return the source language of the models, if there is only one."""
        await self._reader.read(request, schemas.DetectRequest)
        try:
            language = self._models.detect()
        except UnavailableError as error:
            raise HTTPException(400, str(error)) from None
        return JSONResponse([plain(schemas.Detection(language=language, confidence=0))])

    async def languages(self, _: Request) -> Response:
        """Return the source languages with their target languages."""
        targets: dict[str, list[str]] = {}
        for source, target in self._models.pairs:
            targets.setdefault(source, []).append(target)
            targets.setdefault(target, [])
        return JSONResponse(
            [
                plain(schemas.TargetLanguages(code=code, name=_name(code), targets=others))
                for code, others in targets.items()
            ]
        )

    async def list_models(self, _: Request) -> Response:
        """Return the names of the models, with their actions and languages."""
        infos = []
        for model in self._models:
            source, target = model.languages or (None, None)
            infos.append(
                schemas.ModelInfo(name=model.name, action=model.action, source=source, target=target)
            )
        return JSONResponse([plain(info) for info in infos])

    async def health(self, _: Request) -> Response:
        """Say that the server is running."""
        return JSONResponse(plain(schemas.Health(status="ok")))

    async def settings(self, _: Request) -> Response:
        """Return the settings that clients of LibreTranslate ask for."""
        pair = next(iter(self._models.pairs), None)
        names = [schemas.LanguageName(code=code, name=_name(code)) for code in pair or ()]
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
        """Return the metrics, which need a key if the texts do."""
        self._reader.check_key(request)
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def openapi(self, _: Request) -> Response:
        """Return the OpenAPI document."""
        return JSONResponse(openapi(self._models, needs_key=self._needs_key))

    async def _answers(
        self, request: Request, model: ServedModel, texts: Sequence[str], number: int
    ) -> Sequence[seqx.NBest]:
        """Return the answers to the inputs of a request; forget them if its client leaves.

        Raises:
            HTTPException: the queue is full, the time is over, or an input cannot be answered
        """
        try:
            submitted = self.batcher.submit((model, number), texts)
        except QueueFullError:
            raise HTTPException(429, "too many lines are waiting; try again later", _RETRY) from None
        except StoppedError:
            raise HTTPException(503, "the server is stopping", _RETRY) from None
        answers: asyncio.Future[Any] = asyncio.wrap_future(submitted)
        left: asyncio.Future[Any] = asyncio.create_task(_disconnect(request))
        try:
            await asyncio.wait(
                [answers, left], timeout=self._limits.seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if answers.done():
                nbests = answers.result()
                self.metrics.lines.labels(model.name).inc(len(texts))
                self.metrics.characters.labels(model.name).inc(sum(map(len, texts)))
                return nbests
            if left.done():
                raise HTTPException(CLIENT_LEFT, "the client left")
            raise HTTPException(503, f"there was no answer in {self._limits.seconds:g} seconds", _RETRY)
        except seqx.UserError as error:
            raise HTTPException(422, str(error)) from None
        finally:
            answers.cancel()
            left.cancel()

    @staticmethod
    def _decode(key: tuple[ServedModel, int], texts: Sequence[str]) -> Sequence[seqx.NBest]:
        """Answer the inputs of several requests; called in the thread of the batcher."""
        model, number = key
        return list(model.predictor_for(number).hypotheses(texts))


async def _documents(texts: Sequence[str], format_: Literal["text", "html"]) -> Sequence[Document]:
    """Return the documents of the texts. Pages can take long, so they are read in a thread.

    Raises:
        HTTPException: a page cannot be read
    """
    if format_ == "text":
        return [read_document(text, format_) for text in texts]
    try:
        return await asyncio.to_thread(lambda: [read_document(text, format_) for text in texts])
    except ValueError as error:
        raise HTTPException(422, str(error)) from None


async def _disconnect(request: Request) -> None:
    """Return when the client has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _internal_error(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": f"{type(error).__name__} in the server; its log has the details"}, 500)


def _versions(document: Document, nbests: Sequence[seqx.NBest], alternatives: int) -> list[str]:
    """Return the best translation of a document, and others with the next best answers to its lines."""
    versions = []
    for rank in range(1 + alternatives):
        answers = [nbest[min(rank, len(nbest) - 1)].text if nbest else "" for nbest in nbests]
        versions.append(document.filled(answers))
    return list(dict.fromkeys(versions))


def _warnings(nbests: Sequence[seqx.NBest]) -> list[str] | None:
    """Return the warnings about the answers of a request."""
    return [str(warning) for warning in seqx.sum_warnings(nbests) if warning.count] or None


def _name(code: str) -> str:
    """Return the English name of a language, or its code if it is not known."""
    try:
        return Locale.parse(code, sep="_").english_name or code
    except (UnknownLocaleError, ValueError):
        return code
