"""Searches: greedy, beam and sampling."""

import seqx
from seqx_search.beam import Beam
from seqx_search.greedy import Greedy
from seqx_search.sampling import Sampling

__all__ = ["Beam", "Greedy", "Sampling"]


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    """Register the searches."""
    registry.add(seqx.Search, beam=Beam, greedy=Greedy, sampling=Sampling)
