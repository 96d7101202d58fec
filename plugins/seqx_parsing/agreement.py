"""Agreement between parsers: the number of sentences with identical trees, and the F1 between parsers."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, zip_longest

import seqx
from seqx_parsing.evalb.brackets import read_line
from seqx_parsing.evalb.parameters import COLLINS
from seqx_parsing.evalb.sentence import compare
from seqx_parsing.reader import read
from seqx_parsing.top_down import TopDown
from seqx_parsing.tree import Leaf, Tree

_UNTAGGED = TopDown()  # a linearisation without part-of-speech tags


@dataclass
class ParserAgreement:
    """Counts over sentences that several parsers have parsed independently.

    Parsers agree on a sentence if all of them predict the same labelled brackets (Vinyals et al. 2015,
    section 3.1). Part-of-speech tags may differ; the returned tree has the tags of the first parser.
    """

    sentences: int = 0
    words: int = 0
    agreed: int = 0
    agreed_words: int = 0
    matched: int = 0  # matched brackets, counted in both trees of each pair of parsers
    brackets: int = 0  # all brackets of both trees of each pair

    def add(self, answers: Sequence[str]) -> str | None:
        """Count one sentence; return the first parser's tree if all parsers agree, else None.

        Args:
            answers: one bracketed tree per parser; an empty string if a parser has no tree

        Raises:
            UserError: the trees are over different words
        """
        trees = [next(read([answer], "an answer"), None) for answer in answers]
        leaves = [list(tree.leaves()) for tree in trees if tree is not None]
        _check_words(leaves)
        self.sentences += 1
        self.words += len(leaves[0]) if leaves else 0
        rewritten = [str(_retagged(tree, leaves[0])) if tree is not None else "" for tree in trees]
        for one, other in combinations(rewritten, 2):
            counts = compare(read_line(one, COLLINS), other, COLLINS, strict=True)
            self.matched += 2 * len(counts.pairs)
            self.brackets += len(counts.gold) + len(counts.test)
        if not rewritten[0] or len(set(rewritten)) > 1:
            return None
        self.agreed += 1
        self.agreed_words += len(leaves[0])
        return rewritten[0]

    @property
    def f1(self) -> float:
        """The F1 in percent between the parsers' brackets, over all pairs of parsers.

        EVALB's rules with COLLINS.prm apply. If a parser has no tree for a sentence, none of the brackets of
        the other parsers match.
        """
        return 100 * self.matched / self.brackets if self.brackets else 0.0

    def __str__(self) -> str:
        """Return the counts in one line."""
        if not self.sentences:
            return "there were no sentences"
        share, length = 100 * self.agreed / self.sentences, self.words / self.sentences
        agreed_length = f", {self.agreed_words / self.agreed:.1f} words on average" if self.agreed else ""
        return (
            f"sentences: {self.sentences:,}, {length:.1f} words on average; the models agree on "
            f"{self.agreed:,} ({share:.1f}%){agreed_length}; F1 between the models: {self.f1:.2f}"
        )


def _retagged(tree: Tree, leaves: Sequence[Leaf]) -> Tree:
    """Return the tree with other leaves, and with TOP as its root."""
    return _UNTAGGED.decode(_UNTAGGED.encode(tree), leaves).tree


def _check_words(sentences: Sequence[Sequence[Leaf]]) -> None:
    words = [[leaf.word for leaf in leaves] for leaves in sentences]
    for others in words[1:]:
        if others != words[0]:
            one, other = next((a, b) for a, b in zip_longest(words[0], others) if a != b)
            raise seqx.UserError(
                f"task.tags: the models read different words of one sentence, {one!r} and {other!r}; "
                "set task.tags to given for all models or for none of them"
            )
