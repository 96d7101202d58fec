"""Recurrent networks: encoders of LSTMs or GRUs, and decoders with any attention to the source."""

import seqx
from seqx_recurrent.decoder import GRUDecoder, LSTMDecoder
from seqx_recurrent.encoder import GRUEncoder, LSTMEncoder

__all__ = ["GRUDecoder", "GRUEncoder", "LSTMDecoder", "LSTMEncoder"]


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    """Register the encoders and decoders."""
    registry.add(seqx.Encoder, lstm=LSTMEncoder, gru=GRUEncoder)
    registry.add(seqx.Decoder, lstm=LSTMDecoder, gru=GRUDecoder)
