"""A predictor without a model, to test the evaluation of a task."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from seqx.interfaces.learning import Hypothesis
from seqx.interfaces.scores import AnswerWarning
from seqx.interfaces.task import Candidate, Example, NBest

_HYPOTHESIS = Hypothesis(ids=[], score=0.0, logprob=0.0)


class FixedPredictor:
    """A predictor whose answers come from a function. All target tokens have the same probability.

    Args:
        answer: function from an input to its answer
        logprob: natural log-probability of each target token
        warnings: function that returns the warnings of all answers together
    """

    max_length = 1 << 30

    def __init__(
        self,
        answer: Callable[[Any], str],
        logprob: float = 0.0,
        warnings: Callable[[], Sequence[AnswerWarning]] = tuple,
    ) -> None:
        self.answer = answer
        self.logprob = logprob
        self.warnings = warnings

    def __call__(self, inputs: Iterable[Any]) -> list[str]:
        """Return the answer to each input."""
        return [self.answer(value) for value in inputs]

    def hypotheses(self, inputs: Iterable[Any]) -> Iterator[NBest]:
        """Yield an n-best list with one answer for each input; the last list has the warnings."""
        nbests = [NBest([Candidate(text, _HYPOTHESIS)]) for text in self(inputs)]
        if nbests:
            nbests[-1] = NBest(nbests[-1], self.warnings())
        yield from nbests

    def logprobs(self, examples: Sequence[Example]) -> list[float | None]:
        """Return `logprob` times the number of target tokens of each example."""
        return [self.logprob * len(example.columns["target"]) for example in examples]
