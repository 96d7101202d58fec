"""Models: an encoder and a decoder with their embeddings, and several models as one."""

import seqx
from seqx_models.encoder_decoder import EncoderDecoder
from seqx_models.ensemble import Ensemble

__all__ = ["EncoderDecoder", "Ensemble"]


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    """Offer the models."""
    registry.add(seqx.Model, encoder_decoder=EncoderDecoder)
    registry.add(seqx.Combination, ensemble=Ensemble)
