"""Constituency trees."""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import seqx

if TYPE_CHECKING:
    from nltk.tree import Tree as NltkTree

MAX_DEPTH = 250
"""Maximum depth of a tree that is read or written. Recursive code is safe for such trees."""

UNTAGGED = "XX"
"""Placeholder: the symbol of a word in a linearisation, and the part of speech of an untagged word."""

_ESCAPED = {"(": "-LRB-", ")": "-RRB-"}
_UNREADABLE = re.compile(r"[() \t\n\v\f\r]")


@lru_cache(2**14)  # a treebank has few labels and tags, and repeats most of its words
def escape_name(name: str) -> str:
    """Return a label, tag or word that can be written in a tree: -LRB- for "(", _ for a space, XX for ""."""
    return _UNREADABLE.sub(lambda match: _ESCAPED.get(match[0], "_"), name) or UNTAGGED


class Leaf(NamedTuple):
    """A word and its part of speech."""

    tag: str
    word: str

    def __str__(self) -> str:
        """Return the leaf in brackets, as the Penn Treebank writes it."""
        return f"({escape_name(self.tag)} {escape_name(self.word)})"


class Bracket(NamedTuple):
    """The label and the span of a constituent: the words `start` to `end`, counted from 0, `end` excluded."""

    label: str
    start: int
    end: int


class Tree(NamedTuple):
    """A labelled constituent. The unlabelled outermost bracket of a treebank has the label "TOP"."""

    label: str
    children: "tuple[Tree | Leaf, ...]"

    def __str__(self) -> str:
        """Return the tree in brackets on one line, which can be read again; "" for a tree without words.

        Labels, tags and words are written as by `escape_name`, and the tree as by `readable`.
        """
        tree = self.readable()
        texts: list[str] = []
        pending: list[Tree | Leaf | str] = [tree] if tree.children else []
        while pending:  # not recursive, because trees may be deeper than Python's recursion limit
            part = pending.pop()
            if isinstance(part, Tree):
                texts.append(f" ({escape_name(part.label)}")
                pending += (")", *reversed(part.children))
            else:
                texts.append(part if isinstance(part, str) else f" {part}")
        return "".join(texts)[1:]

    def _repr_html_(self) -> str | None:
        return seqx.notebook_html(self)

    def to_json(self, start: int = 0) -> dict[str, object]:
        """Return label, span and children as JSON values. A span counts words from `start`, end excluded."""
        children: list[dict[str, object]] = []
        end = start
        for child in self.children:
            if isinstance(child, Leaf):
                children.append({"tag": child.tag, "word": child.word, "span": [end, end + 1]})
                end += 1
            else:
                children.append(child.to_json(end))
                end += sum(1 for _ in child.leaves())
        return {"label": self.label, "span": [start, end], "children": children}

    def brackets(self) -> list[Bracket]:
        """Return the label and the span of each constituent, from left to right and outer ones first."""
        found: list[Bracket] = []
        pending: list[Tree | Leaf | int] = [self]  # a number marks the end of a constituent
        words = 0
        while pending:
            part = pending.pop()
            if isinstance(part, int):
                found[part] = found[part]._replace(end=words)
            elif isinstance(part, Leaf):
                words += 1
            else:
                pending += (len(found), *reversed(part.children))
                found.append(Bracket(part.label, words, words))
        return found

    def to_nltk(self) -> "NltkTree":
        """Return the tree as a tree of NLTK, with a tree for the part-of-speech tag of each word."""
        from nltk.tree import Tree as NltkTree  # noqa: PLC0415  NLTK is slow to import

        def convert(part: Tree | Leaf) -> "NltkTree":
            if isinstance(part, Leaf):
                return NltkTree(part.tag, [part.word])
            return NltkTree(part.label, list(map(convert, part.children)))

        return convert(self)

    @classmethod
    def from_nltk(cls, tree: "NltkTree") -> "Tree":
        """Return a tree of NLTK as a tree; the outermost label is TOP if there is none.

        A word that is not the only child of a part-of-speech tag gets the tag XX.
        """

        def convert(part: Any) -> Tree | Leaf:
            if isinstance(part, str):
                return Leaf(UNTAGGED, part)
            if len(part) == 1 and isinstance(part[0], str):
                return Leaf(str(part.label()), part[0])
            return cls(str(part.label()), tuple(map(convert, part)))

        converted = convert(tree)
        if isinstance(converted, Leaf):
            return cls("TOP", (converted,))
        return converted if converted.label else converted._replace(label="TOP")

    def readable(self) -> "Tree":
        """Return the tree without empty constituents and without constituents deeper than `MAX_DEPTH`.

        The reader would reject both. Constituents that are too deep are replaced by their words.
        """
        if self._can_be_read():
            return self
        labels: list[str] = []
        parts: list[list[Tree | Leaf]] = [[]]
        pending: list[Tree | Leaf | None] = [self]  # None marks the end of a constituent
        while pending:
            part = pending.pop()
            if part is None:
                label, children = labels.pop(), tuple(parts.pop())
                if children or not labels:
                    parts[-1].append(Tree(label, children))
            elif isinstance(part, Leaf):
                parts[-1].append(part)
            elif len(labels) < MAX_DEPTH - 1:
                labels.append(part.label)
                parts.append([])
                pending += (None, *reversed(part.children))
            else:
                pending.extend(reversed(part.children))
        (whole,) = parts[0]
        assert isinstance(whole, Tree), "its outermost constituent is kept"
        return whole

    def _can_be_read(self) -> bool:
        """Return true if no constituent is empty or too deep."""
        level = [self]
        for _ in range(MAX_DEPTH - 1):
            if not all(tree.children for tree in level):
                return False
            level = [child for tree in level for child in tree.children if isinstance(child, Tree)]
            if not level:
                return True
        return False

    def leaves(self) -> Iterator[Leaf]:
        """Yield the leaves from left to right."""
        pending: list[Tree | Leaf] = [self]
        while pending:
            part = pending.pop()
            if isinstance(part, Leaf):
                yield part
            else:
                pending.extend(reversed(part.children))

    def over(self, leaves: Iterable[Leaf]) -> "Tree":
        """Return the tree with its leaves replaced by the same number of other leaves."""
        replacements = iter(leaves)
        stack: list[tuple[str, Iterator[Tree | Leaf], list[Tree | Leaf]]] = []
        stack.append((self.label, iter(self.children), []))
        while True:
            label, pending, done = stack[-1]
            part = next(pending, None)
            if isinstance(part, Tree):
                stack.append((part.label, iter(part.children), []))
            elif part is not None:
                done.append(next(replacements))
            else:
                stack.pop()
                tree = Tree(label, tuple(done))
                if not stack:
                    return tree
                stack[-1][2].append(tree)
