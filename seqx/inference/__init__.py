"""Inference: trained models that answer raw text.

`loading` loads a model folder into a `Predictor`. The predictor splits inputs into pieces, answers the pieces
in batches, and joins the answers (`decoding`). `scoring` computes log-probabilities of targets. `evaluation`
computes the scores and the perplexity of a split. `attention_maps` computes attention weights, and
`alignment` aligns words by them. `packing` packs weights for CPUs. `exchange` and `imports` convert models to
and from formats of other programs.
"""

from seqx.inference.attention_maps import AttentionMaps
from seqx.inference.evaluation import evaluate
from seqx.inference.loading import load
from seqx.inference.predictor import Predictor

__all__ = ["AttentionMaps", "Predictor", "evaluate", "load"]
