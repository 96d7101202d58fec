"""Constituency parsing with sequence models: a parser writes a linearised tree."""

import seqx
from seqx_parsing.assembly import Assembly
from seqx_parsing.bracket_grammar import BracketGrammar, BracketState, LegalKinds
from seqx_parsing.bracketing import Bracketing
from seqx_parsing.drawing import draw_svg
from seqx_parsing.evalb import Evalb
from seqx_parsing.guided import GuidedEncoderDecoder
from seqx_parsing.in_order import InOrder
from seqx_parsing.linearisation import TOP, Decoded, Linearisation, linearise
from seqx_parsing.parser import Parser
from seqx_parsing.reader import read
from seqx_parsing.task import Parsing
from seqx_parsing.top_down import TopDown
from seqx_parsing.tree import Bracket, Leaf, Tree
from seqx_parsing.treebanks import NltkTreebank, PennTreebank, TreebankFiles
from seqx_parsing.vocabulary import Vocabulary

__all__ = [
    "TOP",
    "Assembly",
    "Bracket",
    "BracketGrammar",
    "BracketState",
    "Bracketing",
    "Decoded",
    "Evalb",
    "GuidedEncoderDecoder",
    "InOrder",
    "Leaf",
    "LegalKinds",
    "Linearisation",
    "NltkTreebank",
    "Parser",
    "Parsing",
    "PennTreebank",
    "TopDown",
    "Tree",
    "TreebankFiles",
    "Vocabulary",
    "linearise",
    "read",
]


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    """Register the components of this plugin, and those of its interface Linearisation."""
    registry.add(seqx.Corpus, nltk_treebank=NltkTreebank, ptb=PennTreebank, treebank=TreebankFiles)
    registry.add(seqx.Metric, evalb=Evalb)
    registry.add(seqx.Model, guided=GuidedEncoderDecoder)
    registry.add(seqx.Task, parsing=Parsing)
    registry.add(Linearisation, top_down=TopDown, in_order=InOrder)


@seqx.hookimpl
def seqx_html(value: object) -> str | None:
    """Return a drawing of a tree."""
    return f'<div style="overflow-x: auto">{draw_svg(value)}</div>' if isinstance(value, Tree) else None
