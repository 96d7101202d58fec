"""Tasks on text: language modelling, text to text, classification."""

import seqx


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    """Offer the tasks."""
