"""Constituency parsing as linearised trees."""

import seqx
from seqx_parsing.evalb import Evalb
from seqx_parsing.tree import Leaf, Tree
from seqx_parsing.treebank_nltk import NltkTreebank
from seqx_parsing.treebank_ptb import PennTreebank
from seqx_parsing.treebanks import TreebankFiles

__all__ = ["Evalb", "Leaf", "NltkTreebank", "PennTreebank", "Tree", "TreebankFiles"]


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    """Offer this plugin's components."""
    registry.add(seqx.Corpus, nltk_treebank=NltkTreebank, ptb=PennTreebank, treebank=TreebankFiles)
    registry.add(seqx.Metric, evalb=Evalb)
