"""The models that a server answers with, and the choice of one of them for a request."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import seqx

TRANSLATE = "translate"
"""The action of models that translate from one language into another."""

AUTO = "auto"
"""The value of `source` with which a client asks the server to find out the source language."""

# The code of a language, with `_` and anything, or with a script and a region: deu_x, zh-Hans, pt-BR.
_CODE = r"([A-Za-z]{2,3}(?:_\w+|(?:-[A-Z][a-z]{3})?(?:-(?:[A-Z]{2}|\d{3}))?))"
_LANGUAGES = re.compile(rf"{_CODE}-{_CODE}=(.+)")


class UnavailableError(Exception):
    """An error: no model can answer a request."""


@dataclass(frozen=True)
class ServedModel:
    """A model with the name and the languages by which clients select it."""

    name: str
    predictor: seqx.Predictor
    languages: tuple[str, str] | None
    _predictors: dict[tuple[int, bool], seqx.Predictor] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def action(self) -> str:
        """The verb for answering an input, such as "parse": the action of the task."""
        return self.predictor.task.action

    def predictor_for(self, answers: int, *, is_traced: bool = False) -> seqx.Predictor:
        """Return the predictor for a number of answers, or for as many as the search can find.

        Args:
            answers: the number of answers
            is_traced: true: the predictor records the steps of the search
        """
        search = self.predictor.search
        key = answers if search is None else min(answers, search.width), is_traced
        if key not in self._predictors:
            predictor = self._predictors[key] = self.predictor.with_answers(key[0])
            if is_traced:
                predictor.record_traces()
        return self._predictors[key]


@dataclass(frozen=True)
class Answerer:
    """A function that returns the answers of a model to texts."""

    model: ServedModel
    number: int  # of answers to each text

    def __call__(self, texts: Sequence[Any]) -> Sequence[Any]:
        """Return the n-best list of each text."""
        return list(self.model.predictor_for(self.number).hypotheses(texts))

    def join(self, parts: seqx.InputParts, answers: Sequence[Any]) -> Any:
        """Return the answer to a text from the answers to its parts."""
        return parts.join(answers)


@dataclass(frozen=True)
class InputSplitter:
    """A function that splits texts into the parts that a model answers separately."""

    model: ServedModel

    def __call__(self, texts: Sequence[Any]) -> Sequence[seqx.InputParts]:
        """Return the parts of each text."""
        found = []
        for index, text in enumerate(texts):
            try:
                found.append(self.model.predictor.parts(text))
            except seqx.InputError as error:
                raise seqx.InputError(str(error), index) from None
        return found


@dataclass(frozen=True)
class Explainer(Answerer):
    """A function that returns the answers to requests with traces, and the attention of the best answers."""

    def __call__(self, requests: Sequence[seqx.Request]) -> Sequence[Any]:
        """Return the n-best list and the attention maps of each request; no maps: None."""
        predictor = self.model.predictor_for(self.number, is_traced=True)
        return [
            (nbest, predictor.attention(request.input, nbest[0].hypothesis.ids) if nbest else None)
            for request, nbest in zip(requests, predictor.hypotheses(requests), strict=True)
        ]

    def join(self, parts: seqx.InputParts, answers: Sequence[Any]) -> Any:
        """Join the n-best lists of the parts of a request. The maps are None if there are several parts."""
        nbest = parts.join([nbest for nbest, _ in answers])
        return nbest, answers[0][1] if len(answers) == 1 else None


class ServedModels:
    """The models of a server, in the order in which they were named.

    Args:
        models: the models; their names differ, and each translator has languages
    """

    def __init__(self, models: Iterable[ServedModel]) -> None:
        self._models = {model.name: model for model in models}

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self._models.values())

    @property
    def actions(self) -> Sequence[str]:
        """The actions of the models, except translation."""
        return [*dict.fromkeys(model.action for model in self if model.action != TRANSLATE)]

    @property
    def pairs(self) -> Sequence[tuple[str, str]]:
        """The languages of the translators."""
        return [*dict.fromkeys(model.languages for model in self if model.languages is not None)]

    def names(self, action: str) -> Sequence[str]:
        """Return the names of the models for an action."""
        return [model.name for model in self if model.action == action]

    def find(self, name: str | None, action: str | None = None) -> ServedModel:
        """Return a model.

        Args:
            name: its name; None: the first model that has the action
            action: the action that the model must have; None: any

        Raises:
            UnavailableError: no such model has this name
        """
        models = {model.name: model for model in self if action in (None, model.action)}
        if name is None:
            return next(iter(models.values()))
        if name not in models:
            verb = "" if action is None else f" to {action}"
            raise UnavailableError(f"model: there is no {name!r}{verb}; use {' or '.join(models)}")
        return models[name]

    def translator(self, source: str, target: str, name: str | None) -> ServedModel:
        """Return the first model that translates from `source` to `target`.

        Args:
            source: the code of the source language, or "auto"
            target: the code of the target language
            name: the name that the model must have; None: any

        Raises:
            UnavailableError: there is none, or the source is "auto" and several languages are possible
        """
        fitting = [
            model
            for model in self
            if model.languages is not None
            and model.languages[1] == target
            and source in (AUTO, model.languages[0])
            and name in (None, model.name)
        ]
        if not fitting:
            pairs = ", ".join("-".join(pair) for pair in self.pairs) or "none"
            named = "" if name is None else f" named {name!r}"
            raise UnavailableError(f"no model{named} translates {source}-{target}; there are: {pairs}")
        sources = list(dict.fromkeys(model.languages[0] for model in fitting if model.languages))
        if len(sources) > 1:
            raise UnavailableError(
                f"this server does not detect languages; set source to {' or '.join(sources)}"
            )
        return fitting[0]

    def detect(self) -> str:
        """Return the source language of all translators.

        Raises:
            UnavailableError: they have several source languages, or there is no translator
        """
        sources = list(dict.fromkeys(source for source, _ in self.pairs))
        if len(sources) != 1:
            known = " or ".join(sources) or "a model that translates"
            raise UnavailableError(f"this server does not detect languages; use {known}")
        return sources[0]


def load_models(
    folders: Sequence[str], languages: Sequence[str], overrides: Sequence[str], options: seqx.ModelOptions
) -> ServedModels:
    """Load the models that a command names.

    Args:
        folders: model folders
        languages: further models with their languages, as SOURCE-TARGET=FOLDER; a folder may be named twice
        overrides: settings of all models, as KEY=VALUE
        options: how the models are loaded

    Raises:
        UserError: a model cannot be loaded, has two pairs of languages, or its languages are missing or not
            in this form
    """
    pairs: dict[str, tuple[str, str] | None] = dict.fromkeys(folders)
    for text in languages:
        match = _LANGUAGES.fullmatch(text)
        if match is None:
            raise seqx.UserError(
                f"--languages {text}: write SOURCE-TARGET=MODEL, as in en-de=runs/NAME/model"
            )
        folder, named = match[3], (match[1], match[2])
        other = pairs.get(folder)
        if other is not None and other != named:
            raise seqx.UserError(
                f"--languages: {folder} is named for {'-'.join(other)} and for {'-'.join(named)}, but a "
                "model is served for one pair of languages; leave out one of them"
            )
        pairs[folder] = named
    names = _names(list(pairs))
    models = []
    for folder, pair in pairs.items():
        predictor = options.load([folder], overrides)
        task = predictor.task
        if pair is not None and task.action != TRANSLATE:
            raise seqx.UserError(f"--languages: {folder} does not translate; name it without languages")
        known = task.languages if task.action == TRANSLATE else None
        if task.action == TRANSLATE and not (pair or known):
            raise seqx.UserError(
                f"{folder}: its recipe does not name the languages of source and target; name them, as in "
                f"--languages en-de={folder}"
            )
        models.append(ServedModel(names[folder], predictor, pair or known))
    return ServedModels(models)


def _names(folders: Sequence[str]) -> dict[str, str]:
    """Return the names of models: the name of the run or folder, or the path if two have the same name."""
    names = {}
    for folder in folders:
        path = Path(folder).absolute()
        names[folder] = path.parent.name if path.name == "model" and path.parent.name else path.name
    counts = list(names.values())
    return {folder: folder if counts.count(name) > 1 else name for folder, name in names.items()}
