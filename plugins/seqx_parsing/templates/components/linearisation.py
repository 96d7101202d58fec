from collections.abc import Sequence

import seqx
from seqx_parsing import Decoded, Leaf, Linearisation, TopDown, Tree


class Newcomer(TopDown):
    """Brackets that are written top-down from right to left: `(S (VP XX )VP (NP XX XX )NP )S`."""

    def encode(self, tree: Tree) -> list[str]:
        return reversed_brackets(super().encode(tree))

    def decode(self, symbols: Sequence[str], leaves: Sequence[Leaf]) -> Decoded:
        return super().decode(reversed_brackets(symbols), leaves)


def reversed_brackets(symbols: Sequence[str]) -> list[str]:
    """Reverse symbols, and exchange opening and closing brackets."""
    pairs = {"(": ")", ")": "("}
    return [
        f"{pairs[symbol[0]]}{symbol[1:]}" if len(symbol) > 1 and symbol[0] in pairs else symbol
        for symbol in reversed(symbols)
    ]


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    registry.add(Linearisation, newcomer=Newcomer)
