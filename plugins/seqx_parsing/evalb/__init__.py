"""EVALB: read brackets, count matching ones, add up the counts, and report them."""

from seqx_parsing.evalb.metric import Evalb

__all__ = ["Evalb"]
