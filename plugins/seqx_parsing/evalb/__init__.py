"""EVALB: how brackets are read, counted, summed up and reported."""

from seqx_parsing.evalb.metric import Evalb

__all__ = ["Evalb"]
