"""The cleaned trees of the test data."""

import gc
from functools import cache
from pathlib import Path

import seqx
from seqx_parsing import Tree
from seqx_parsing.cleaning import clean
from seqx_parsing.reader import read

FILES = {
    "ptb_nltk_sample": ["train.mrg.gz", "dev.mrg.gz", "test.mrg.gz"],
    "craft_treebank": ["dev.tree.gz"],
    "mctb": ["law.gold.txt.gz", "review.gold.txt.gz"],
}


@cache
def trees(folder: Path) -> list[Tree]:
    """Return the trees of a treebank that have words; of CRAFT only those of the development set."""
    paths = [folder / file for file in FILES[folder.name]]
    gc.disable()  # it would visit millions of objects, none of which can be freed
    cleaned = (clean(tree) for path in paths for tree in read(seqx.read_lines(path), path))
    found = [tree for tree in cleaned if tree is not None]
    gc.freeze()
    gc.enable()
    return found
