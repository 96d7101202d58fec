"""Parse sentences in Python."""

import warnings
from collections.abc import Iterable

import seqx
from seqx_parsing.reader import read
from seqx_parsing.task import Parsing
from seqx_parsing.tree import Tree


class Parser:
    """A trained parser that returns trees.

    Args:
        predictor: the model, from `seqx.load`

    Raises:
        UserError: the model is not a parser
    """

    def __init__(self, predictor: seqx.Predictor) -> None:
        if not isinstance(predictor.task, Parsing):
            raise seqx.UserError(
                f"this is a model of the task {type(predictor.task).__name__}, not a parser; load a model of "
                "the task Parsing"
            )
        self._predictor = predictor

    def __call__(self, sentences: Iterable[str]) -> list[Tree | None]:
        """Return the best tree of each sentence; None for an empty one, and if there is no tree.

        The words of a sentence are separated by spaces; a warning (`warnings`) gives the number of sentences
        with attached punctuation, and that of outputs that had to be repaired.
        """
        return [_tree(answers.text) for answers in self._answers(sentences)]

    def nbest(self, sentences: Iterable[str]) -> list[list[Tree]]:
        """Return the n best trees of each sentence, best first."""
        return [
            [tree for text, _ in answers if (tree := _tree(text)) is not None]
            for answers in self._answers(sentences)
        ]

    def _answers(self, sentences: Iterable[str]) -> list[seqx.NBest]:
        nbests = [*self._predictor.hypotheses(sentences)]
        for warning in seqx.sum_warnings(nbests):
            if warning.count:
                warnings.warn(str(warning), stacklevel=3)
        return nbests


def _tree(text: str) -> Tree | None:
    return next(read([text], "the answer"), None)
