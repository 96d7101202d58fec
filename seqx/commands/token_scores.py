"""The log-probabilities of the tokens of answers: the option `--token-scores`."""

from collections.abc import Mapping, Sequence
from typing import Any

from seqx.inference import Predictor
from seqx.interfaces.task import Candidate, Example

TokenScores = Sequence[Mapping[str, object]] | None
"""The symbol and the log-probability of each token; None if they are unknown."""


def scores_of_tokens(predictor: Predictor, source: Any, candidates: Sequence[Candidate]) -> list[TokenScores]:
    """Return the log-probability of each token of each answer to an input.

    The value is None if the input was answered in parts, or is too long for one forward pass.
    """
    columns = [predictor.pair_columns(source, candidate.hypothesis.ids) for candidate in candidates]
    examples = [Example(columns=each) for each in columns if each is not None]
    logprobs = iter(predictor.token_logprobs(examples))
    scores: list[TokenScores] = []
    for each in columns:
        values = None if each is None else next(logprobs)
        if each is None or values is None:
            scores.append(None)
            continue
        symbols = predictor.symbols("target", each["target"])
        scores.append(
            [{"symbol": symbol, "logprob": value} for symbol, value in zip(symbols, values, strict=True)]
        )
    return scores
