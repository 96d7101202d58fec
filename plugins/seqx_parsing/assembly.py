"""A tree that is put together step by step, and mended where the steps do not make one."""

from collections import deque
from collections.abc import Iterable

from seqx_parsing.linearisation import TOP, Decoded, rooted
from seqx_parsing.tree import Leaf, Tree, written


class Assembly:
    """Becomes a tree over exactly the given leaves, whatever steps it is told.

    Wrong steps are mended so:

    - a word where none is left: nothing
    - a close whose label is not open: nothing; where it is open further out, all inside it is closed
    - a label that is to go around finished parts, where there are fewer: it goes around those
    - a constituent without words: it vanishes
    - a label or a part of speech that cannot be written in brackets: it is changed by `written`
    - at the end, what is open is closed; words that are left come last in the outermost of what was open,
      and several parts, or a word alone, get TOP
    """

    def __init__(self, leaves: Iterable[Leaf]) -> None:
        self._left = deque(leaves)
        self._open: list[tuple[str, list[Tree | Leaf]]] = [(TOP, [])]
        self._new = True  # the last step opened, so that nothing after it is finished
        self.repaired = False

    def word(self, tag: str | None = None) -> None:
        """The next word, with another part of speech where a `tag` is given."""
        if not self._left:
            self.repaired = True
            return
        leaf = self._left.popleft()
        self._open[-1][1].append(leaf if tag is None else leaf._replace(tag=self._named(tag)))
        self._new = False

    def open(self, label: str, first: int = 0) -> None:
        """A constituent begins; its first children are the `first` parts that were finished last."""
        parts = self._open[-1][1]
        start = len(parts) if self._new else max(0, len(parts) - first)
        self.repaired |= start + first > len(parts)
        self._open.append((self._named(label), parts[start:]))
        del parts[start:]
        self._new = True

    def close(self, label: str) -> None:
        """The constituent ends that was opened last and has this label."""
        label = self._named(label)
        height = next((i for i in range(len(self._open) - 1, 0, -1) if self._open[i][0] == label), 0)
        if height == 0:
            self.repaired = True
            return
        self.repaired |= height < len(self._open) - 1
        self._close_down_to(height)

    def skip(self) -> None:
        """A step that means nothing."""
        self.repaired = True

    def finish(self) -> Decoded:
        """The tree."""
        if len(self._open) > 1 or self._left:
            self.repaired = True
            self._close_down_to(2)
            self._open[-1][1].extend(self._left)
            self._close_down_to(1)
        parts = self._open[0][1]
        loose = len(parts) > 1 or any(isinstance(part, Leaf) for part in parts)
        return Decoded(rooted(parts), self.repaired or loose)

    def _named(self, name: str) -> str:
        """Return a name that can be written in brackets."""
        self.repaired |= written(name) != name
        return written(name)

    def _close_down_to(self, height: int) -> None:
        while len(self._open) > height:
            label, children = self._open.pop()
            if children:
                self._open[-1][1].append(Tree(label, tuple(children)))
            else:
                self.repaired = True
        self._new = False
