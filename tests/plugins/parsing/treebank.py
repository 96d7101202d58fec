"""The trees of the treebanks, cleaned."""

import gzip
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from seqx_parsing import TOP, Leaf, Tree

FILES = {
    "ptb_nltk_sample": ["train.mrg.gz", "dev.mrg.gz", "test.mrg.gz"],
    "craft_treebank": ["train.tree.gz", "dev.tree.gz"],
}
TOKEN = re.compile(r"[()]|[^ \t\r\n()]+")  # white space of other alphabets can be part of a word
LABEL = re.compile(".[^-=|]*")


@cache
def trees(folder: Path) -> list[Tree]:
    """All trees of a treebank that have words."""
    return [tree for file in FILES[folder.name] for tree in _read(folder / file)]


def _read(path: Path) -> Iterator[Tree]:
    opened: list[list[str | Tree | Leaf]] = []
    for token in TOKEN.findall(gzip.decompress(path.read_bytes()).decode()):
        if token == "(":
            opened.append([])
        elif token != ")":
            opened[-1].append(token)
        else:
            part = _clean(opened.pop())
            if part is not None and opened:
                opened[-1].append(part)
            elif isinstance(part, Tree):
                yield part


def _clean(parts: list[str | Tree | Leaf]) -> Tree | Leaf | None:
    match parts:
        case ["-NONE-", str()]:
            return None
        case [str() as tag, str() as word]:
            return Leaf(tag, word)
    label = next((LABEL.findall(part)[0] for part in parts if isinstance(part, str)), TOP)
    children = tuple(part for part in parts if not isinstance(part, str))
    return Tree(label, children) if children else None
