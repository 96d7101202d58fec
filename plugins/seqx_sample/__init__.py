"""A generated English-German corpus with parse trees, from a hand-written synchronous grammar."""

import seqx

from .corpus import Sample


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    """Register the corpus."""
    registry.add(seqx.Corpus, sample=Sample)


__all__ = ["Sample", "seqx_register"]
