"""Models that answer: raw text in, raw text out."""

from seqx.inference.attention_maps import AttentionMaps
from seqx.inference.evaluation import evaluate
from seqx.inference.loading import load
from seqx.inference.pieces import InputError
from seqx.inference.predictor import Predictor

__all__ = ["AttentionMaps", "InputError", "Predictor", "evaluate", "load"]
