"""The cleaned trees of the test data."""

import gc
from collections.abc import Iterator
from functools import cache
from itertools import chain, islice
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
STEPS = {"ptb_nltk_sample": 1, "craft_treebank": 4, "mctb": 4}
"""Every n-th line of a treebank's files is read. CRAFT and MCTB have one tree in each line."""


@cache
def trees(folder: Path, count: int | None = None) -> list[Tree]:
    """Return the first trees of a treebank that have words.

    Args:
        folder: the folder of the treebank
        count: the number of trees; None: all trees of the Penn Treebank sample, every fourth of the others
    """
    gc.disable()  # it would visit millions of objects, none of which can be freed
    step = STEPS[folder.name]
    found = [
        *islice(chain.from_iterable(_cleaned(folder / file, step) for file in FILES[folder.name]), count)
    ]
    gc.freeze()
    gc.enable()
    return found


def _cleaned(path: Path, step: int) -> Iterator[Tree]:
    """Yield the cleaned trees in every `step`-th line of a file."""
    for tree in read(islice(seqx.read_lines(path), 0, None, step), path):
        cleaned = clean(tree)
        if cleaned is not None:
            yield cleaned
