"""Build a tree step by step, and repair steps that do not form a tree."""

from collections import deque
from collections.abc import Iterable

from seqx_parsing.linearisation import TOP, Decoded, add_top
from seqx_parsing.tree import Leaf, Tree, escape_name


class Assembly:
    """Builds a tree over exactly the given leaves from any sequence of steps.

    Invalid steps are repaired:

    - `word` is ignored if no leaf is left.
    - `close` is ignored if no constituent with its label is open. If other constituents are open inside the
      one with this label, they are closed first.
    - `open` adopts fewer siblings if fewer are finished.
    - An empty constituent is removed.
    - A label or tag that cannot be written in brackets is changed by `escape_name`.
    - At the end, open constituents are closed. Remaining leaves are appended to the outermost open
      constituent. Several roots, or a single word, are put below TOP.
    """

    def __init__(self, leaves: Iterable[Leaf]) -> None:
        self._remaining = deque(leaves)
        self._open: list[tuple[str, list[Tree | Leaf]]] = [(TOP, [])]
        self._just_opened = True  # the last step was an open, so the constituent has no finished children yet
        self.repaired = False

    def word(self, tag: str | None = None) -> None:
        """Append the next word; `tag` replaces its part of speech."""
        if not self._remaining:
            self.repaired = True
            return
        leaf = self._remaining.popleft()
        self._open[-1][1].append(leaf if tag is None else leaf._replace(tag=self._escaped(tag)))
        self._just_opened = False

    def open(self, label: str, adopted: int = 0) -> None:
        """Open a constituent; its first children are the last `adopted` finished siblings."""
        parts = self._open[-1][1]
        start = len(parts) if self._just_opened else max(0, len(parts) - adopted)
        self.repaired |= start + adopted > len(parts)
        self._open.append((self._escaped(label), parts[start:]))
        del parts[start:]
        self._just_opened = True

    def close(self, label: str) -> None:
        """Close the innermost open constituent with this label."""
        label = self._escaped(label)
        height = next((i for i in range(len(self._open) - 1, 0, -1) if self._open[i][0] == label), 0)
        if height == 0:
            self.repaired = True
            return
        self.repaired |= height < len(self._open) - 1
        self._close_down_to(height)

    def skip(self) -> None:
        """Ignore a symbol that has no meaning, and record a repair."""
        self.repaired = True

    def finish(self) -> Decoded:
        """Close all open constituents and return the tree."""
        if len(self._open) > 1 or self._remaining:
            self.repaired = True
            self._close_down_to(2)
            self._open[-1][1].extend(self._remaining)
            self._close_down_to(1)
        parts = self._open[0][1]
        needs_root = len(parts) > 1 or any(isinstance(part, Leaf) for part in parts)
        return Decoded(add_top(parts), self.repaired or needs_root)

    def _escaped(self, name: str) -> str:
        """Escape a label or tag that cannot be written in brackets, and record the repair."""
        self.repaired |= escape_name(name) != name
        return escape_name(name)

    def _close_down_to(self, height: int) -> None:
        while len(self._open) > height:
            label, children = self._open.pop()
            if children:
                self._open[-1][1].append(Tree(label, tuple(children)))
            else:
                self.repaired = True
        self._just_opened = False
