"""The Transformer: stacks of attention and feed-forward layers, and the pieces that they are made of."""

import seqx
from seqx_transformer.attention import MultiHead
from seqx_transformer.decoder import TransformerDecoder
from seqx_transformer.encoder import TransformerEncoder
from seqx_transformer.feedforward import GELU, FeedForward, Gated, ReLU
from seqx_transformer.initialisation import DeepNorm, DepthScaled, Initialisation, Kaiming, Normal, Xavier
from seqx_transformer.norm import LayerNorm, Norm, RMSNorm
from seqx_transformer.positions import Combined, Learned, NoPositions, Sinusoidal
from seqx_transformer.relative import T5, Alibi, Rotary, Shaw

__all__ = [
    "GELU",
    "T5",
    "Alibi",
    "Combined",
    "DeepNorm",
    "DepthScaled",
    "FeedForward",
    "Gated",
    "Initialisation",
    "Kaiming",
    "LayerNorm",
    "Learned",
    "MultiHead",
    "NoPositions",
    "Norm",
    "Normal",
    "RMSNorm",
    "ReLU",
    "Rotary",
    "Shaw",
    "Sinusoidal",
    "TransformerDecoder",
    "TransformerEncoder",
    "Xavier",
]


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    """Offer the Transformer and its pieces; FeedForward, Norm and Initialisation are kinds of this plugin."""
    registry.add(seqx.Encoder, transformer=TransformerEncoder)
    registry.add(seqx.Decoder, transformer=TransformerDecoder)
    registry.add(seqx.Attention, multihead=MultiHead)
    registry.add(
        seqx.PositionalEncoding,
        sinusoidal=Sinusoidal,
        learned=Learned,
        none=NoPositions,
        rotary=Rotary,
        alibi=Alibi,
        t5=T5,
        shaw=Shaw,
        combined=Combined,
    )
    registry.add(FeedForward, relu=ReLU, gelu=GELU, gated=Gated)
    registry.add(Norm, layernorm=LayerNorm, rmsnorm=RMSNorm)
    registry.add(
        Initialisation,
        xavier=Xavier,
        depth_scaled=DepthScaled,
        deepnorm=DeepNorm,
        kaiming=Kaiming,
        normal=Normal,
    )
