"""Constrained decoding: grammars for answers with a prefix, required phrases and forbidden phrases.

`byte_automaton` finds phrases in text byte by byte (Aho and Corasick 1975). `token_automaton` converts it to
an automaton over the symbols of a vocabulary, whose texts `surfaces` holds. `lexical` has the grammar, which
tells a search what symbols may come next. `intersection` combines several grammars.
"""

from seqx.constraints.intersection import Intersection
from seqx.constraints.lexical import LexicalConstraint, LexicalGrammar
from seqx.constraints.surfaces import Surfaces

__all__ = ["Intersection", "LexicalConstraint", "LexicalGrammar", "Surfaces"]
