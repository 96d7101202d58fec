"""Models that answer: raw text in, raw text out."""

from seqx.inference.answers import Answers, distinct
from seqx.inference.attention_maps import AttentionMaps
from seqx.inference.loading import load
from seqx.inference.predictor import Predictor, RefusedError

__all__ = ["Answers", "AttentionMaps", "Predictor", "RefusedError", "distinct", "load"]
