"""Constituency parsing as linearised trees."""

import seqx
from seqx_parsing.evalb import Evalb
from seqx_parsing.tree import Leaf, Tree

__all__ = ["Evalb", "Leaf", "Tree"]


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    """Offer this plugin's components."""
    registry.add(seqx.Metric, evalb=Evalb)
