"""EVALB: read, count, sum up and report brackets."""

from seqx_parsing.evalb.metric import Evalb

__all__ = ["Evalb"]
