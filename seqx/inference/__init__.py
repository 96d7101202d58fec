"""Models that answer: raw text in, raw text out."""

from seqx.inference.answers import Answers, distinct
from seqx.inference.attention_maps import Attended
from seqx.inference.loading import load
from seqx.inference.predictor import Predictor, RefusedError

__all__ = ["Answers", "Attended", "Predictor", "RefusedError", "distinct", "load"]
