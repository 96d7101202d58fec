"""Constraints on answers as grammars: how they begin, which phrases they have, and which not."""

from seqx.constraints.intersection import Intersection
from seqx.constraints.lexical import LexicalConstraint, LexicalGrammar
from seqx.constraints.surfaces import Surfaces

__all__ = ["Intersection", "LexicalConstraint", "LexicalGrammar", "Surfaces"]
