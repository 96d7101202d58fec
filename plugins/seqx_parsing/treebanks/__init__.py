"""Treebanks as corpora. A row has one column: a bracketed tree on one line."""

from seqx_parsing.treebanks.files import TreebankFiles
from seqx_parsing.treebanks.nltk_sample import NltkTreebank
from seqx_parsing.treebanks.penn import PennTreebank
from seqx_parsing.treebanks.treebank import Treebank

__all__ = ["NltkTreebank", "PennTreebank", "Treebank", "TreebankFiles"]
