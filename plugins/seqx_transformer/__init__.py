"""The Transformer (Vaswani et al. 2017) and its variants; each part is a component."""

import seqx
from seqx_transformer.attention import MultiHeadAttention
from seqx_transformer.grouped import GroupedQueryAttention
from seqx_transformer.initialisation import DeepNorm, DepthScaled, Initialisation, Kaiming, Normal, Xavier
from seqx_transformer.layer_parts import (
    GELU,
    Convolutions,
    FeedForward,
    Gated,
    LayerNorm,
    Norm,
    ReLU,
    RMSNorm,
)
from seqx_transformer.linear import LinearAttention
from seqx_transformer.positions import Combined, Learned, NoPositions, Sinusoidal
from seqx_transformer.relative import T5, Alibi, Rotary, Shaw
from seqx_transformer.restricted import RestrictedAttention
from seqx_transformer.scores import AdditiveAttention, MultiplicativeAttention
from seqx_transformer.transformer import TransformerDecoder, TransformerEncoder

__all__ = [
    "GELU",
    "T5",
    "AdditiveAttention",
    "Alibi",
    "Combined",
    "Convolutions",
    "DeepNorm",
    "DepthScaled",
    "FeedForward",
    "Gated",
    "GroupedQueryAttention",
    "Initialisation",
    "Kaiming",
    "LayerNorm",
    "Learned",
    "LinearAttention",
    "MultiHeadAttention",
    "MultiplicativeAttention",
    "NoPositions",
    "Norm",
    "Normal",
    "RMSNorm",
    "ReLU",
    "RestrictedAttention",
    "Rotary",
    "Shaw",
    "Sinusoidal",
    "TransformerDecoder",
    "TransformerEncoder",
    "Xavier",
]


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    """Register the Transformer and its parts, also under the interfaces that this plugin defines."""
    registry.add(seqx.Encoder, transformer=TransformerEncoder)
    registry.add(seqx.Decoder, transformer=TransformerDecoder)
    registry.add(
        seqx.Attention,
        multihead=MultiHeadAttention,
        additive=AdditiveAttention,
        multiplicative=MultiplicativeAttention,
        restricted=RestrictedAttention,
        linear=LinearAttention,
        grouped_query=GroupedQueryAttention,
    )
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
    registry.add(FeedForward, relu=ReLU, gelu=GELU, gated=Gated, convolutions=Convolutions)
    registry.add(Norm, layernorm=LayerNorm, rmsnorm=RMSNorm)
    registry.add(
        Initialisation,
        xavier=Xavier,
        depth_scaled=DepthScaled,
        deepnorm=DeepNorm,
        kaiming=Kaiming,
        normal=Normal,
    )
