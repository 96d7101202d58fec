"""Treebanks as corpora: rows of one column, a tree in brackets on one line."""

from seqx_parsing.treebanks.files import TreebankFiles
from seqx_parsing.treebanks.nltk_sample import NltkTreebank
from seqx_parsing.treebanks.penn import PennTreebank
from seqx_parsing.treebanks.treebank import Treebank

__all__ = ["NltkTreebank", "PennTreebank", "Treebank", "TreebankFiles"]
