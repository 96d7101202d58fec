"""Automata over the symbols of a vocabulary, converted from automata over bytes.

A symbol writes several bytes, so that one transition of a token automaton replaces several of a byte
automaton. Two symbols are in the same class if they have the same transition from every node. Tables have one
column for each class instead of each symbol. The conversion follows a trie of the texts of all symbols, so
that it reads a prefix that several symbols share only once. If two texts are in the same class, they stay in
the same class when the same byte is appended to each. Willard and Louf 2023 (Efficient guided generation for
large language models) also index a vocabulary by automaton states.

Letters in shapes: V symbols, A nodes, C classes of symbols, M sets of required phrases (2^n for n phrases).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqx.constraints.byte_automaton import DEAD, END_OF_TEXT, ByteAutomaton, build_byte_automaton

UNREACHABLE = 1 << 14
"""The distance of a node from which no path leads to the end. It is longer than any output."""


class TokenAutomaton(NamedTuple):
    """An automaton that finds phrases in a sequence of symbols. Its inputs are all symbols except EOS."""

    classes: Tensor  # [V] int64: the class of each symbol
    next_node: Tensor  # [A, C] int64
    matches: Tensor  # [A, C] int64: one bit for each required phrase that the symbol completes
    # [A, M] int16: the fewest symbols until EOS is allowed, if the phrases of a set have occurred
    distance: Tensor
    by_byte: ByteAutomaton


class SurfaceTrie:
    """A trie of the texts of all symbols.

    Args:
        texts: the bytes of each symbol
    """

    def __init__(self, texts: Sequence[bytes]) -> None:
        numbers: dict[bytes, int] = {b"": 0}
        # For each depth, the nodes of the trie as (parent, last byte, node).
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
        numbers_of_bytes: dict[bytes, int] = {}
        byte_class = np.array(
            [numbers_of_bytes.setdefault(column.tobytes(), len(numbers_of_bytes)) for column in columns.T]
        )
        byte_of_class = {int(number): byte for byte, number in reversed([*enumerate(byte_class)])}
        numbers_by_column: dict[bytes, int] = {}
        class_columns: list[tuple[NDArray[Any], NDArray[Any]]] = []

        def class_of(next_nodes: NDArray[Any], matched: NDArray[Any]) -> int:
            key = next_nodes.tobytes() + matched.tobytes()
            number = numbers_by_column.setdefault(key, len(class_columns))
            if number == len(class_columns):
                class_columns.append((next_nodes, matched))
            return number

        classes = np.zeros(self._size, np.int64)  # of each node of the trie
        class_of(np.arange(len(next_node)), np.zeros(len(next_node), np.int64))
        for parent, byte, node in self._levels:
            # The class of a node depends only on the class of its parent and the class of its last byte.
            pairs, inverse = np.unique(classes[parent] * END_OF_TEXT + byte_class[byte], return_inverse=True)
            numbers = []
            for pair in pairs.tolist():
                nodes, matched = class_columns[pair // END_OF_TEXT]
                last_byte = byte_of_class[pair % END_OF_TEXT]
                numbers.append(class_of(next_node[nodes, last_byte], matched | matches[nodes, last_byte]))
            classes[node] = np.array(numbers)[inverse.reshape(-1)]
        used, symbol_classes = np.unique(classes[self._symbols], return_inverse=True)
        nodes, matched = (np.stack(part, 1) for part in zip(*(class_columns[i] for i in used), strict=True))
        return symbol_classes.reshape(-1), nodes, matched


def _distances(
    next_node: NDArray[Any], matches: NDArray[Any], at_end: tuple[NDArray[Any], NDArray[Any]], sets: int
) -> NDArray[np.int16]:
    """Return the fewest symbols until EOS is allowed, [A, M], by breadth-first search from the end.

    Args:
        next_node: the next node for each class of symbols [A, C]
        matches: the phrases that a symbol of each class completes [A, C]
        at_end: the next node and the matches [A] if the text ends at a node
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
