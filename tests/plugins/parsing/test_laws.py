"""The laws hold for linearisations from here and from outside."""

from types import ModuleType
from typing import Any

import seqx
import seqx.testing
import seqx_parsing.testing
from tests.plugins.parsing.bottom_up import BottomUp

assert seqx_parsing.testing.TREES  # imported for its laws


def plugin(**linearisations: Any) -> ModuleType:
    """A plugin that brings these."""
    module = ModuleType("seqx_outside")

    @seqx.hookimpl
    def register(registry: seqx.Registry) -> None:
        registry.add(seqx_parsing.Linearisation, **linearisations)

    module.seqx_register = register  # type: ignore[attr-defined]
    return module


OURS: dict[str, Any] = {"top_down": seqx_parsing.TopDown, "in_order": seqx_parsing.InOrder}

test_laws = seqx.testing.laws(plugin(**OURS))
test_laws_with_tags = seqx.testing.laws(
    plugin(**OURS), settings={maker: {"tags": True} for maker in OURS.values()}
)
test_laws_outside = seqx.testing.laws(plugin(bottom_up=BottomUp))
