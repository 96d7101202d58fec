"""The laws hold for linearisations from here and from outside."""

from types import ModuleType

import seqx
import seqx.testing
import seqx_parsing.testing
from tests.plugins.parsing.bottom_up import BottomUp

assert seqx_parsing.testing.TREES  # imported for its laws

outside = ModuleType("seqx_bottom_up")


@seqx.hookimpl
def register(registry: seqx.Registry) -> None:
    registry.add(seqx_parsing.Linearisation, bottom_up=BottomUp)


outside.seqx_register = register  # type: ignore[attr-defined]

TREEBANKS = [seqx_parsing.NltkTreebank, seqx_parsing.PennTreebank, seqx_parsing.TreebankFiles]

test_laws = seqx.testing.laws(seqx_parsing, without=TREEBANKS)
test_laws_with_tags = seqx.testing.laws(
    seqx_parsing,
    settings={maker: {"tags": True} for maker in (seqx_parsing.TopDown, seqx_parsing.InOrder)},
    without=[*TREEBANKS, seqx_parsing.Evalb],
)
test_laws_outside = seqx.testing.laws(outside)
