"""Count the trees that the grammar of a linearisation rules out, and name the limits to raise."""

from seqx_parsing.linearisation import Linearisation
from seqx_parsing.tree import Tree


class RuledOut:
    """Counts the trees of a treebank that the grammar rules out.

    Args:
        linearisation: the linearisation whose grammar is checked
    """

    def __init__(self, linearisation: Linearisation) -> None:
        self._linearisation = linearisation
        self._needed: dict[str, int] = {}
        self._total = 0
        self.count = 0

    def add(self, tree: Tree) -> None:
        """Add a cleaned tree."""
        needs = self._linearisation.needs(tree)
        exceeded = {name: least for name, least in needs.items() if least > self._limit(name)}
        self._total += 1
        self.count += bool(exceeded)
        for name, least in exceeded.items():
            self._needed[name] = max(least, self._needed.get(name, 0))

    def __str__(self) -> str:
        """Return the number of trees that are ruled out, and the settings to raise, in one line."""
        settings = ", ".join(
            f"{name} from {self._limit(name)} to {least}" for name, least in sorted(self._needed.items())
        )
        verb = "is" if self.count == 1 else "are"
        return f"{self.count:,} of {self._total:,} trees {verb} ruled out by the grammar; raise {settings}"

    def _limit(self, name: str) -> int:
        limit = getattr(self._linearisation, name)
        assert isinstance(limit, int)
        return limit
