"""The embedded sample: English and German made by a hand-written synchronous grammar, with English trees."""

import seqx

from .corpus import Sample


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    """Add the corpus."""
    registry.add(seqx.Corpus, sample=Sample)


__all__ = ["Sample", "seqx_register"]
