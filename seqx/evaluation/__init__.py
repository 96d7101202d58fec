"""Models that answer: raw text in, raw text out."""

from seqx.evaluation.attention import Attended
from seqx.evaluation.loading import load
from seqx.evaluation.predictor import Answers, Predictor, RefusedError, distinct

__all__ = ["Answers", "Attended", "Predictor", "RefusedError", "distinct", "load"]
