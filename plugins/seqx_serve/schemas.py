"""The fields of requests and responses; clients read them in the OpenAPI document."""

from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

Text = Annotated[str, Field(examples=["The house is small."])]
Language = Annotated[str, Field(description="ISO 639 code of a language", examples=["en"])]
ModelName = Annotated[str | None, Field(description="one of the models of /models; by default the first")]
ApiKey = Annotated[
    str | None,
    Field(description="a key, if the server needs one; it may also be the header Authorization: Bearer KEY"),
]


def _whole(value: object) -> object:
    """Return 74 for 74.0: JSON Schema counts 74.0 as an integer."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)
Count = Annotated[int, Ge(0), Le(100), WHOLE]
Line = Annotated[str, Field(json_schema_extra={"pattern": r"^[^\u0000-\u001f\u007f-\u009f]*$"})]
"""A text without control characters. `constraints_of` checks it, to write a better message than pydantic."""

Phrase = Annotated[Line, MinLen(1), MaxLen(200)]


class Response(BaseModel):
    """The fields of a response, whose names are in camel case as those of LibreTranslate."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True)


class Request(BaseModel):
    """The fields of every request that needs a key."""

    api_key: ApiKey = None


class ConstrainedRequest(Request):
    """Inputs with constraints. Only models whose `constraints` in /models is true accept constraints."""

    prefix: Annotated[Annotated[Line, MaxLen(1000)] | None, Field(description="beginning of each answer")] = (
        None
    )
    require: Annotated[
        Phrase | Annotated[list[Phrase], MaxLen(8)] | None, Field(description="phrases that each answer has")
    ] = None
    forbid: Annotated[
        Phrase | Annotated[list[Phrase], MaxLen(8)] | None, Field(description="phrases that no answer has")
    ] = None


class TranslateRequest(ConstrainedRequest):
    """Texts to translate. Each line of a text is an input of the model.

    The constraints are an extension of LibreTranslate's API. With `prefix` or `require`, each text is one
    line.
    """

    q: Annotated[str | list[str], Field(description="a text or several texts", examples=["The house."])]
    source: Annotated[str, Field(description="code of the source language, or auto", examples=["en"])]
    target: Language
    format: Annotated[Literal["text", "html"] | None, Field(description="text by default")] = None
    alternatives: Annotated[Count, Field(description="number of further translations of each text")] = 0
    model: ModelName = None


class DetectRequest(Request):
    """A text whose language the client asks for."""

    q: Text


class AnswerRequest(ConstrainedRequest):
    """Inputs of a model that does not translate, such as sentences to parse. Each text is one input."""

    q: Annotated[
        str | list[str], Field(description="an input or several inputs", examples=["The dog barks ."])
    ]
    nbest: Annotated[int, Ge(1), Le(100), WHOLE, Field(description="number of answers to each input")] = 1
    model: ModelName = None


class ExplainRequest(ConstrainedRequest):
    """An input of any model. The response has the answers, the steps of the search and the attention."""

    q: Text
    nbest: Annotated[int, Ge(1), Le(100), WHOLE, Field(description="number of answers")] = 4
    model: ModelName = None


class Detection(Response):
    """The source language of the models. The confidence is 0, because the language was not detected."""

    language: Language
    confidence: Annotated[float, Ge(0), Le(100)]


class TranslateResponse(Response):
    """The translations, in the form of `q`: a string or a list."""

    translated_text: str | list[str]
    alternatives: list[str] | list[list[str]] | None = None
    detected_language: Detection | list[Detection] | None = None
    warnings: list[str] | None = None


class TargetLanguages(Response):
    """A language, and the languages into which it can be translated."""

    code: Language
    name: str
    targets: list[str]


class Answer(Response):
    """An answer, its score and its log-probability, and the parts that its task describes, such as `tree`."""

    model_config = ConfigDict(extra="allow")

    text: str
    score: float
    logprob: float


class Result(Response):
    """The answers to an input, best first."""

    input: str
    answers: list[Answer]


class AnswerResponse(Response):
    """The results in the order of the inputs."""

    results: list[Result]
    warnings: list[str] | None = None


class AttentionMap(Response):
    """The weights of an attention layer, by head, query and key."""

    model_config = ConfigDict(alias_generator=None)

    name: str
    queries: str
    keys: str
    query_symbols: list[str]
    key_symbols: list[str]
    weights: list[list[list[float]]]


class StepHypothesis(Response):
    """A hypothesis at one step of a search."""

    parent: Annotated[
        int | None, Field(description="index of the hypothesis that it extends, in the previous step")
    ] = None
    token: Annotated[str, Field(description="the added symbol; </s> ends the hypothesis")]
    score: Annotated[float, Field(description="the value by which the search ranks it")]
    logprob: float
    outcome: Annotated[
        Literal["kept", "finished", "pruned"],
        Field(description="kept: extended in the next step; pruned: dropped"),
    ]
    best: Annotated[bool, Field(description="true if it is the beginning of the best answer")]


class SearchSteps(Response):
    """The hypotheses of each step of a search, best first.

    An input that is too long for the model has several parts. If several hypotheses of a part have the same
    text, the search is repeated with a larger beam.
    """

    part: Annotated[int, Ge(1)]
    search: Annotated[int, Ge(1)]
    steps: list[list[StepHypothesis]]


class ExplainResponse(Response):
    """The answers to an input, the steps of the search, and the attention weights of the best answer."""

    result: Result
    searches: list[SearchSteps]
    attention: list[AttentionMap]
    warnings: list[str] | None = None


class ModelInfo(Response):
    """A model of the server. Its action is the path that answers with it."""

    name: str
    action: str
    source: str | None = None
    target: str | None = None
    constraints: Annotated[bool, Field(description="true if it accepts prefix, require and forbid")]


class Health(Response):
    """The state of the server."""

    status: Literal["ok"]


class LanguageName(Response):
    """A language with its English name."""

    code: str
    name: str


class DefaultLanguages(Response):
    """The languages that a page may show first."""

    source: LanguageName
    target: LanguageName


class Settings(Response):
    """The settings that pages and clients of LibreTranslate ask for."""

    char_limit: int
    frontend_timeout: int
    api_keys: bool
    key_required: bool
    suggestions: bool
    files_translation: bool
    supported_files_format: list[str]
    language: DefaultLanguages | None


class Problem(Response):
    """The reason why a request is not answered."""

    error: str


def plain(value: Response) -> Any:
    """Return a response as plain values, without the fields that are not set."""
    return value.model_dump(exclude_none=True, by_alias=True)
