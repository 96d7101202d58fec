"""Automata over the symbols of a vocabulary, made from automata over bytes.

A symbol writes several bytes, so one transition of the new automaton is several of the old one. Symbols that
lead from each node to the same node form a class, and tables have one column for each class instead of each
symbol. The classes are found along a trie of all symbols' texts: a text that several symbols begin with is
read once, and two texts of one class stay in one class when the same byte follows. Willard and Louf 2023
(Efficient guided generation for large language models) index a vocabulary by automaton states likewise.

Letters in shapes: V symbols, A nodes, C classes of symbols, M sets of required phrases (2 to their number).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqx.constraints.byte_automaton import DEAD, END_OF_TEXT, ByteAutomaton, build_byte_automaton

UNREACHABLE = 1 << 14
"""The distance to the end where no path leads there. Outputs are shorter."""


class TokenAutomaton(NamedTuple):
    """An automaton of phrases over the symbols of a vocabulary, except EOS."""

    classes: Tensor  # [V] int64: the class of each symbol
    next_node: Tensor  # [A, C] int64
    matches: Tensor  # [A, C] int64: one bit for each required phrase that the symbol completes
    # [A, M] int16: the fewest symbols until EOS may come, if the phrases of a set have occurred
    distance: Tensor
    by_byte: ByteAutomaton


class SurfaceTrie:
    """A trie of the texts of all symbols.

    Args:
        texts: the bytes of each symbol
    """

    def __init__(self, texts: Sequence[bytes]) -> None:
        numbers: dict[bytes, int] = {b"": 0}
        # By depth, for each node of the trie: its parent, its last byte, itself.
        levels: list[list[tuple[int, int, int]]] = [[] for _ in range(max(map(len, texts)))]
        for text in texts:
            for n in range(1, len(text) + 1):
                if text[:n] not in numbers:
                    levels[n - 1].append((numbers[text[: n - 1]], text[n - 1], len(numbers)))
                    numbers[text[:n]] = len(numbers)
        self._size = len(numbers)
        self._levels = [np.array(level).T for level in levels]  # [3, nodes of this depth]
        self._symbols = np.array([numbers[text] for text in texts])  # [V] the node of each symbol

    def automaton(self, require: Sequence[str], forbid: Sequence[str]) -> TokenAutomaton:
        """Build the automaton of required and forbidden phrases over the symbols."""
        by_byte = build_byte_automaton(require, forbid)
        classes, next_node, matches = self._classes(by_byte)
        at_end = by_byte.next_node[:, END_OF_TEXT].numpy(), by_byte.matches[:, END_OF_TEXT].numpy()
        return TokenAutomaton(
            classes=torch.from_numpy(classes),
            next_node=torch.from_numpy(next_node),
            matches=torch.from_numpy(matches),
            distance=torch.from_numpy(_distances(next_node, matches, at_end, 1 << len(require))),
            by_byte=by_byte,
        )

    def _classes(self, automaton: ByteAutomaton) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Return the class [V] of each symbol, and next nodes and matches [A, C] of each class."""
        next_node, matches = automaton.next_node.numpy(), automaton.matches.numpy()
        columns = np.concatenate([next_node, matches])[:, :END_OF_TEXT]
        byte_class = np.unique(columns, axis=1, return_inverse=True)[1].reshape(-1)
        some_byte = {int(number): byte for byte, number in reversed([*enumerate(byte_class)])}
        known: dict[bytes, int] = {}
        tables: list[tuple[NDArray[Any], NDArray[Any]]] = []

        def class_of(nodes: NDArray[Any], found: NDArray[Any]) -> int:
            number = known.setdefault(nodes.tobytes() + found.tobytes(), len(tables))
            if number == len(tables):
                tables.append((nodes, found))
            return number

        classes = np.zeros(self._size, np.int64)  # of each node of the trie
        class_of(np.arange(len(next_node)), np.zeros(len(next_node), np.int64))
        for parent, byte, node in self._levels:
            # All nodes whose parents have one class, and whose last bytes have one class, have one class.
            pairs, places = np.unique(classes[parent] * END_OF_TEXT + byte_class[byte], return_inverse=True)
            numbers = []
            for pair in pairs.tolist():
                nodes, found = tables[pair // END_OF_TEXT]
                column = some_byte[pair % END_OF_TEXT]
                numbers.append(class_of(next_node[nodes, column], found | matches[nodes, column]))
            classes[node] = np.array(numbers)[places.reshape(-1)]
        used, of_symbol = np.unique(classes[self._symbols], return_inverse=True)
        nodes, found = (np.stack(column, 1) for column in zip(*(tables[i] for i in used), strict=True))
        return of_symbol.reshape(-1), nodes, found


def _distances(
    next_node: NDArray[Any], matches: NDArray[Any], at_end: tuple[NDArray[Any], NDArray[Any]], sets: int
) -> NDArray[np.int16]:
    """Return the fewest symbols until EOS may come, [A, M], by breadth-first search backwards from the end.

    Args:
        next_node: of each class [A, C]
        matches: phrases that the symbols of a class complete [A, C]
        at_end: next node and matches [A] if the text ends at a node
        sets: the number of sets of required phrases, M
    """
    nodes = len(next_node)
    occurred = np.arange(sets)  # [M] the phrases that have occurred, as bits
    end_node, end_matches = at_end
    distance = np.full((nodes, sets), UNREACHABLE, np.int16)
    distance[(end_node[:, None] != DEAD) & ((occurred | end_matches[:, None]) == sets - 1)] = 0
    distance[DEAD] = UNREACHABLE
    edges = (np.arange(nodes)[:, None] + nodes * next_node) * sets + matches
    edges = np.unique(edges[next_node != DEAD])  # sorted by their targets
    edges, edge_matches = np.divmod(edges, sets)
    target, origin = np.divmod(edges, nodes)
    begin = np.searchsorted(target, np.arange(nodes + 1))
    changed = np.flatnonzero((distance == 0).any(1))
    for _ in range(UNREACHABLE - 1):
        counts = begin[changed + 1] - begin[changed]
        if not counts.sum():
            break
        into = np.repeat(begin[changed] - (counts.cumsum() - counts), counts) + np.arange(counts.sum())
        into = into[np.argsort(origin[into], kind="stable")]
        paths = distance[target[into][:, None], occurred | edge_matches[into][:, None]]  # [edges, M]
        origins, firsts = np.unique(origin[into], return_index=True)
        shorter = np.minimum(distance[origins], np.minimum.reduceat(paths, firsts) + np.int16(1))
        improved = (shorter < distance[origins]).any(1)
        distance[origins] = shorter
        changed = origins[improved]
    return distance
