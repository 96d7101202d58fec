"""Statistics of a treebank: lengths, depths, labels and linearised lengths."""

from collections import Counter
from collections.abc import Iterator, Mapping

from seqx_parsing.linearisation import TOP, Linearisation
from seqx_parsing.roots import RootLabels
from seqx_parsing.ruled_out import RuledOut
from seqx_parsing.tree import Leaf, Tree


class LinearisedLengths:
    """Counts the symbols of linearised trees."""

    def __init__(self, linearisation: Linearisation) -> None:
        self._linearisation = linearisation
        self.symbols = 0
        self.distinct: set[str] = set()
        self.excess = 0  # maximum over sentences of the number of symbols minus 4 times the number of words
        self.ruled_out = RuledOut(linearisation)

    def add(self, tree: Tree, words: int) -> None:
        """Count one tree of `words` words."""
        symbols = self._linearisation.encode(tree)
        self.symbols += len(symbols)
        self.distinct.update(symbols)
        self.excess = max(self.excess, len(symbols) - 4 * words)
        self.ruled_out.add(tree)


class TreeStatistics:
    """Counts of words, labels, tags, depths and symbols of cleaned trees. TOP is not counted.

    Args:
        linearisations: the linearisations to count symbols of, by name
    """

    def __init__(self, linearisations: Mapping[str, Linearisation]) -> None:
        self.trees = 0
        self.wordless = 0  # trees without words
        self.lengths = Counter[int]()  # sentences by number of words
        self.labels = Counter[str]()
        self.tags = Counter[str]()
        self.depths = Counter[int]()  # sentences by depth: the number of constituents around the deepest word
        self.chains = Counter[int]()  # unary chains by length
        self.roots = RootLabels()
        self.linearised = {
            name: LinearisedLengths(linearisation) for name, linearisation in linearisations.items()
        }

    def add(self, tree: Tree | None) -> None:
        """Count one tree; None is a tree without words."""
        self.trees += 1
        if tree is None:
            self.wordless += 1
            return
        words = deepest = 0
        pending: list[tuple[Tree | Leaf, int, int]] = [(tree, int(tree.label != TOP), 0)]
        while pending:
            part, depth, chain = pending.pop()
            if isinstance(part, Leaf):
                words += 1
                deepest = max(deepest, depth - 1)
                self.tags[part.tag] += 1
                self.chains[chain] += chain > 0
                continue
            self.labels[part.label] += depth > 0
            unary = depth > 0 and len(part.children) == 1
            if not unary:
                self.chains[chain] += chain > 0
            pending += ((child, depth + 1, chain + 1 if unary else 0) for child in part.children)
        self.lengths[words] += 1
        self.depths[deepest] += 1
        self.roots.add_tree(tree)
        for lengths in self.linearised.values():
            lengths.add(tree, words)

    @property
    def words(self) -> int:
        """The number of words in all sentences."""
        return sum(length * count for length, count in self.lengths.items())

    def lines(self) -> Iterator[str]:
        """Yield the lines of the table."""
        yield f"trees        {self.trees:,}" + (f", {self.wordless:,} without words" if self.wordless else "")
        if not self.lengths:
            return
        sentences = self.trees - self.wordless
        mean = self.words / sentences
        yield f"words        {self.words:,}; {mean:.1f} per sentence, {max(self.lengths)} at most"
        depth = sum(depth * count for depth, count in self.depths.items()) / sentences
        yield f"depth        {depth:.1f} on average, {max(self.depths)} at most"
        chains = (f"{count:,} of {chain}" for chain, count in sorted(self.chains.items()) if count)
        yield f"unary chains {', '.join(chains) or 'none'}"
        if self.roots.common_dummy is not None:
            yield f"root         {self.roots.common_dummy}, of every tree; training treats it as {TOP}"
        yield f"labels       {_counted(self.labels)}"
        yield f"tags         {_counted(self.tags)}"
        for name, lengths in self.linearised.items():
            bound = f"4 per word + {lengths.excess}" if lengths.excess > 0 else "4 per word"
            rate = lengths.symbols / self.words
            yield f"{name}: {len(lengths.distinct)} symbols; {rate:.2f} per word, at most {bound}"
            if lengths.ruled_out.count:
                yield f"{name}: {lengths.ruled_out}"


def _counted(counts: Counter[str]) -> str:
    ranked = sorted((-count, name) for name, count in counts.items() if count)
    return f"{len(ranked)}: {', '.join(f'{name} {-count:,}' for count, name in ranked)}"
