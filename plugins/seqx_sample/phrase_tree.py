"""Phrase-structure trees in Penn Treebank brackets, and the raw text of their leaves."""

import re
from collections.abc import Iterable
from typing import NamedTuple


class PhraseTree(NamedTuple):
    """A labelled node; a node with one string as its child is a part-of-speech tag over a word."""

    label: str
    children: "tuple[PhraseTree | str, ...]"

    def __str__(self) -> str:
        """Return the tree in brackets, on one line."""
        return f"({self.label} {' '.join(map(str, self.children))})"

    def leaves(self) -> list[str]:
        """Return the words from left to right."""
        words: list[str] = []
        for child in self.children:
            if isinstance(child, str):
                words.append(child)
            else:
                words += child.leaves()
        return words


def tree(label: str, *children: PhraseTree | str | None) -> PhraseTree:
    """Build a tree from the children that are not None."""
    return PhraseTree(label, tuple(child for child in children if child is not None))


def parse(text: str) -> PhraseTree:
    """Parse one bracketed tree."""
    open_trees: list[tuple[str, list[PhraseTree | str]]] = []
    for opened, word in re.findall(r"\(([^\s()]+)|([^\s()]+)|\)", text):
        if opened:
            open_trees.append((opened, []))
        elif word:
            open_trees[-1][1].append(word)
        else:
            label, children = open_trees.pop()
            if not open_trees:
                return PhraseTree(label, tuple(children))
            open_trees[-1][1].append(PhraseTree(label, tuple(children)))
    message = f"no whole tree in {text!r}"
    raise ValueError(message)


def tags(node: PhraseTree) -> list[str]:
    """Return the part of speech of each word."""
    return [
        tag for child in node.children for tag in ([node.label] if isinstance(child, str) else tags(child))
    ]


def chunks(node: PhraseTree) -> list[str]:
    """Return B-NP, I-NP or O for each word: noun phrases without phrases inside are chunks."""
    has_phrases = any(isinstance(part, PhraseTree) for child in node.children for part in _children(child))
    if node.label == "NP" and not has_phrases:
        return ["B-NP", *["I-NP"] * (len(node.leaves()) - 1)]
    return [tag for child in node.children for tag in (["O"] if isinstance(child, str) else chunks(child))]


def _children(node: PhraseTree | str) -> "tuple[PhraseTree | str, ...]":
    return node.children if isinstance(node, PhraseTree) else ()


def detokenize(tokens: Iterable[str]) -> str:
    """Return raw text: capitalized, no space before punctuation, "cannot" as one word, no double commas."""
    text = " ".join(tokens)
    text = re.sub(r"( ,)+( [,.?!])", r"\2", text)
    text = re.sub(r" ([,.?!]|'s\b)", r"\1", text)
    text = re.sub(r"\bcan not\b", "cannot", text)
    return text[0].upper() + text[1:]
