"""Which sentences several parsers agree on, and how much they differ on the others."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, zip_longest

import seqx
from seqx_parsing.evalb.brackets import read_line
from seqx_parsing.evalb.parameters import COLLINS
from seqx_parsing.evalb.sentence import count
from seqx_parsing.reader import read
from seqx_parsing.top_down import TopDown
from seqx_parsing.tree import Leaf, Tree

_PLAIN = TopDown()  # symbols without parts of speech


@dataclass
class Agreement:
    """What was counted over sentences that each of several parsers parsed by itself.

    Parsers agree on a sentence when they put the same brackets with the same labels over it (Vinyals et al.
    2015, section 3.1). Parts of speech may differ; those of the first parser stand for all.
    """

    sentences: int = 0
    words: int = 0
    agreed: int = 0
    agreed_words: int = 0
    matched: int = 0  # brackets of two parsers, summed over all pairs of parsers
    brackets: int = 0

    def add(self, answers: Sequence[str]) -> str | None:
        """The first parser's tree, if the others have the same; an empty answer is no tree.

        Raises:
            UserError: the trees are not over the same words
        """
        trees = [next(read([answer], "an answer"), None) for answer in answers]
        said = [list(tree.leaves()) for tree in trees if tree is not None]
        _check_words(said)
        self.sentences += 1
        self.words += len(said[0]) if said else 0
        alike = [str(_tagged(tree, said[0])) if tree is not None else "" for tree in trees]
        for one, other in combinations(alike, 2):
            found = count(read_line(one, COLLINS), other, COLLINS, strict=True)
            self.matched += 2 * len(found.pairs)
            self.brackets += len(found.gold) + len(found.test)
        if not alike[0] or len(set(alike)) > 1:
            return None
        self.agreed += 1
        self.agreed_words += len(said[0])
        return alike[0]

    @property
    def f1(self) -> float:
        """How much the parsers' brackets are the same, in percent, over all pairs of parsers.

        As EVALB counts them with COLLINS.prm; a sentence that a parser has no tree for counts against it.
        """
        return 100 * self.matched / self.brackets if self.brackets else 0.0

    def __str__(self) -> str:
        """In one line."""
        if not self.sentences:
            return "there were no sentences"
        share, length = 100 * self.agreed / self.sentences, self.words / self.sentences
        theirs = f" of {self.agreed_words / self.agreed:.1f} words" if self.agreed else ""
        return (
            f"sentences: {self.sentences:,} of {length:.1f} words; "
            f"the models agree on {self.agreed:,} ({share:.1f}%){theirs}; F1 between them {self.f1:.2f}"
        )


def _tagged(tree: Tree, leaves: Sequence[Leaf]) -> Tree:
    """The same brackets over other leaves, with TOP where a parser writes it and nowhere else."""
    return _PLAIN.decode(_PLAIN.encode(tree), leaves).tree


def _check_words(said: Sequence[Sequence[Leaf]]) -> None:
    words = [[leaf.word for leaf in leaves] for leaves in said]
    for others in words[1:]:
        if others != words[0]:
            one, other = next((a, b) for a, b in zip_longest(words[0], others) if a != b)
            raise seqx.UserError(
                f"the models do not read the same words, but {one!r} and {other!r}; "
                "task.tags must be given for all of them or for none"
            )
