"""Conversion of the answers of models to parts of responses."""

from collections.abc import Sequence

from babel import Locale, UnknownLocaleError

import seqx
from seqx_serve import schemas
from seqx_serve.documents import Document
from seqx_serve.models import ServedModel


def result_of(model: ServedModel, text: str, nbest: seqx.NBest) -> schemas.Result:
    """Return the answers to an input, with the parts from `Task.structure`, such as a tree."""
    structure = model.predictor.task.structure
    return schemas.Result(
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


def translations_of(document: Document, nbests: Sequence[seqx.NBest], alternatives: int) -> list[str]:
    """Return different translations of a document, the best first.

    Translation i has the i-th best answer to each line, or the last one if a line has fewer answers.
    """
    translations = []
    for rank in range(1 + alternatives):
        answers = [nbest[min(rank, len(nbest) - 1)].text if nbest else "" for nbest in nbests]
        translations.append(document.filled(answers))
    return list(dict.fromkeys(translations))


def warnings_of(nbests: Sequence[seqx.NBest]) -> list[str]:
    """Return the warnings about the answers of a request."""
    return [str(warning) for warning in seqx.sum_warnings(nbests) if warning.count]


def language_name(code: str) -> str:
    """Return the English name of a language, or its code if it is not known."""
    try:
        return Locale.parse(code, sep="_").english_name or code
    except (UnknownLocaleError, ValueError):
        return code
