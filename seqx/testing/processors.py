"""Laws of score processors."""

from functools import partial

import torch
from torch import Tensor

from seqx.interfaces.learning import ScoreProcessor
from seqx.testing.checks import assert_unchanged
from seqx.testing.law import Subject, law
from seqx.testing.samples import SIZE, vectors

_WRITTEN = torch.tensor([[4, 5, 4, 5, 4], [6, 6, 6, 6, 6], [5, 7, 8, 5, 7]])
_LENGTHS = (0, 1, 2, 5)


def _scores() -> Tensor:
    """Return scores [3, V] of next symbols; PAD, BOS and symbol 9 are forbidden."""
    scores = vectors(len(_WRITTEN), SIZE, seed=7).log_softmax(1)
    scores[:, [0, 1, 9]] = -torch.inf
    return scores


@law(ScoreProcessor)
def each_hypothesis_is_processed_alone(subject: Subject) -> None:
    """The scores of a hypothesis do not depend on the other hypotheses; shape and type are kept."""
    processor = subject.build()
    for length in _LENGTHS:
        scores, ids = _scores(), _WRITTEN[:, :length]
        processed = processor(scores, ids)
        assert (processed.shape, processed.dtype) == (scores.shape, scores.dtype), (
            f"__call__: return scores of shape {tuple(scores.shape)} and type {scores.dtype}, "
            f"not {tuple(processed.shape)} and {processed.dtype}"
        )
        for row in range(len(ids)):
            single = processor(scores[row : row + 1], ids[row : row + 1])
            assert torch.equal(single[0], processed[row]), (
                f"__call__: the scores after {ids[row].tolist()} depend on the other hypotheses; "
                "compare the ids of each row with this row only"
            )


@law(ScoreProcessor)
def arguments_are_not_changed(subject: Subject) -> None:
    """A processor returns new scores; it does not write into its arguments."""
    processor = subject.build()
    for length in _LENGTHS:
        scores, ids = _scores(), _WRITTEN[:, :length].clone()
        assert_unchanged(partial(processor, scores, ids), [scores, ids], "__call__")


@law(ScoreProcessor)
def scores_are_at_most_0(subject: Subject) -> None:
    """Scores are at most 0 and not NaN, because a search stops when no hypothesis can become better."""
    processor = subject.build()
    for length in _LENGTHS:
        highest = processor(_scores(), _WRITTEN[:, :length]).amax().item()
        assert highest <= 0, (
            f"__call__: after {length} symbols a score is {highest}; return log-probabilities, at most 0"
        )


@law(ScoreProcessor)
def forbidden_symbols_stay_forbidden(subject: Subject) -> None:
    """A symbol with the score -inf keeps it."""
    processor = subject.build()
    for length in _LENGTHS:
        scores = processor(_scores(), _WRITTEN[:, :length])
        allowed = (scores[:, [0, 1, 9]] > -torch.inf).any().item()
        assert not allowed, (
            f"__call__: after {length} symbols, a forbidden symbol has another score than -inf; keep -inf"
        )
