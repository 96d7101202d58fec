"""Constrained decoding: grammars for answers with a prefix, required phrases and forbidden phrases.

`byte_automaton` finds phrases in text byte by byte (Aho and Corasick 1975). `token_automaton` converts this
automaton to one over the symbols of a vocabulary. `surfaces` holds the texts of the symbols. `lexical`
defines the grammar, which tells a search which symbols may come next. `intersection` combines grammars.
"""

from seqx.constraints.intersection import Intersection
from seqx.constraints.lexical import MAX_PHRASES, LexicalConstraint, LexicalGrammar
from seqx.constraints.surfaces import Surfaces

__all__ = ["MAX_PHRASES", "Intersection", "LexicalConstraint", "LexicalGrammar", "Surfaces"]
