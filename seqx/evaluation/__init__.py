"""Models that answer: raw text in, raw text out."""

from seqx.evaluation.answers import Answers, distinct
from seqx.evaluation.attention import Attended
from seqx.evaluation.loading import load
from seqx.evaluation.predictor import Predictor, RefusedError

__all__ = ["Answers", "Attended", "Predictor", "RefusedError", "distinct", "load"]
