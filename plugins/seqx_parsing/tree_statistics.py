"""What a treebank is like: how long, how deep, which labels, and how it reads as symbols."""

from collections import Counter
from collections.abc import Iterator, Mapping

from seqx_parsing.linearisation import TOP, Linearisation
from seqx_parsing.roots import Roots
from seqx_parsing.ruled_out import RuledOut
from seqx_parsing.tree import Leaf, Tree


class Lengths:
    """How many symbols a linearisation writes."""

    def __init__(self, linearisation: Linearisation) -> None:
        self._linearisation = linearisation
        self.symbols = 0
        self.spelled: set[str] = set()
        self.besides = 0  # the most symbols that a sentence has besides 4 a word
        self.ruled_out = RuledOut(linearisation)

    def add(self, tree: Tree, words: int) -> None:
        """Count one more tree of so many words."""
        symbols = self._linearisation.encode(tree)
        self.symbols += len(symbols)
        self.spelled.update(symbols)
        self.besides = max(self.besides, len(symbols) - 4 * words)
        self.ruled_out.add(tree)


class Statistics:
    """Counts over cleaned trees; the root, TOP, is no constituent.

    Args:
        linearisations: by the names that they are shown under
    """

    def __init__(self, linearisations: Mapping[str, Linearisation]) -> None:
        self.trees = 0
        self.silent = 0  # trees without words
        self.lengths = Counter[int]()  # sentences by words
        self.labels = Counter[str]()
        self.tags = Counter[str]()
        self.depths = Counter[int]()  # sentences by the constituents that their deepest word is in
        self.chains = Counter[int]()  # constituents in a row that have one child each
        self.roots = Roots()
        self.linearised = {name: Lengths(linearisation) for name, linearisation in linearisations.items()}

    def add(self, tree: Tree | None) -> None:
        """Count one more; None: nothing in it is said."""
        self.trees += 1
        if tree is None:
            self.silent += 1
            return
        words = deepest = 0
        ahead: list[tuple[Tree | Leaf, int, int]] = [(tree, int(tree.label != TOP), 0)]
        while ahead:
            part, depth, chain = ahead.pop()
            if isinstance(part, Leaf):
                words += 1
                deepest = max(deepest, depth - 1)
                self.tags[part.tag] += 1
                self.chains[chain] += chain > 0
                continue
            self.labels[part.label] += depth > 0
            alone = depth > 0 and len(part.children) == 1
            if not alone:
                self.chains[chain] += chain > 0
            ahead += ((child, depth + 1, chain + 1 if alone else 0) for child in part.children)
        self.lengths[words] += 1
        self.depths[deepest] += 1
        self.roots.add_tree(tree)
        for lengths in self.linearised.values():
            lengths.add(tree, words)

    @property
    def words(self) -> int:
        """Of all sentences."""
        return sum(length * count for length, count in self.lengths.items())

    def lines(self) -> Iterator[str]:
        """A table to be read."""
        yield f"trees        {self.trees:,}" + (f", {self.silent:,} without words" if self.silent else "")
        if not self.lengths:
            return
        sentences = self.trees - self.silent
        mean = self.words / sentences
        yield f"words        {self.words:,}; {mean:.1f} a sentence, {max(self.lengths)} at most"
        depth = sum(depth * count for depth, count in self.depths.items()) / sentences
        yield f"depth        {depth:.1f} on average, {max(self.depths)} at most"
        chains = (f"{count:,} of {chain}" for chain, count in sorted(self.chains.items()) if count)
        yield f"unary chains {', '.join(chains) or 'none'}"
        if self.roots.dummy is not None:
            yield f"root         {self.roots.dummy}, of every tree; training treats it as {TOP}"
        yield f"labels       {_counted(self.labels)}"
        yield f"tags         {_counted(self.tags)}"
        for name, lengths in self.linearised.items():
            room = f"4 a word + {lengths.besides}" if lengths.besides > 0 else "4 a word"
            rate = lengths.symbols / self.words
            yield f"{name}: {len(lengths.spelled)} symbols; {rate:.2f} a word, never more than {room}"
            if lengths.ruled_out.trees:
                yield f"{name}: {lengths.ruled_out}"


def _counted(counts: Counter[str]) -> str:
    ranked = sorted((-count, name) for name, count in counts.items() if count)
    return f"{len(ranked)}: {', '.join(f'{name} {-count:,}' for count, name in ranked)}"
