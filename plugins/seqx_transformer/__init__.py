"""The Transformer (Vaswani et al. 2017) and its variants; each part is a component."""

import seqx
from seqx_transformer.attention import MultiHeadAttention
from seqx_transformer.export.ctranslate2 import CTranslate2
from seqx_transformer.export.engine import CTranslate2Engine
from seqx_transformer.export.huggingface import HuggingFace
from seqx_transformer.export.onnx import Onnx
from seqx_transformer.grouped import GroupedQueryAttention
from seqx_transformer.initialisation import DeepNorm, DepthScaled, Initialisation, Kaiming, Normal, Xavier
from seqx_transformer.kernels.cpu import Cpu
from seqx_transformer.kernels.flex import Flex
from seqx_transformer.kernels.kernel import Eager, HeadInputs, Kernel, dense_bias, fused_limitation
from seqx_transformer.kernels.sdpa import Sdpa
from seqx_transformer.layer_variants import GELU, Convolutions, Gated, RMSNorm, SiLU
from seqx_transformer.layers import FeedForward, LayerNorm, Norm, ReLU, Sinusoidal, TwoLayerNetwork
from seqx_transformer.linear import LinearAttention
from seqx_transformer.marian.importer import FromHuggingFace
from seqx_transformer.positions import Combined, Learned, NoPositions
from seqx_transformer.relative import T5, Alibi, Rotary, Shaw
from seqx_transformer.restricted import RestrictedAttention
from seqx_transformer.scores import AdditiveAttention, MultiplicativeAttention, ScoredAttention
from seqx_transformer.transformer import TransformerDecoder, TransformerEncoder

__all__ = [
    "GELU",
    "T5",
    "AdditiveAttention",
    "Alibi",
    "CTranslate2",
    "CTranslate2Engine",
    "Combined",
    "Convolutions",
    "Cpu",
    "DeepNorm",
    "DepthScaled",
    "Eager",
    "FeedForward",
    "Flex",
    "FromHuggingFace",
    "Gated",
    "GroupedQueryAttention",
    "HeadInputs",
    "HuggingFace",
    "Initialisation",
    "Kaiming",
    "Kernel",
    "LayerNorm",
    "Learned",
    "LinearAttention",
    "MultiHeadAttention",
    "MultiplicativeAttention",
    "NoPositions",
    "Norm",
    "Normal",
    "Onnx",
    "RMSNorm",
    "ReLU",
    "RestrictedAttention",
    "Rotary",
    "ScoredAttention",
    "Sdpa",
    "Shaw",
    "SiLU",
    "Sinusoidal",
    "TransformerDecoder",
    "TransformerEncoder",
    "TwoLayerNetwork",
    "Xavier",
    "dense_bias",
    "fused_limitation",
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
    registry.add(Kernel, eager=Eager, sdpa=Sdpa, flex=Flex, cpu=Cpu)
    registry.add(FeedForward, relu=ReLU, gelu=GELU, silu=SiLU, gated=Gated, convolutions=Convolutions)
    registry.add(seqx.Exporter, ctranslate2=CTranslate2, huggingface=HuggingFace, onnx=Onnx)
    registry.add(seqx.Engine, ctranslate2=CTranslate2Engine)
    registry.add(seqx.Importer, huggingface=FromHuggingFace)
    registry.add(Norm, layernorm=LayerNorm, rmsnorm=RMSNorm)
    registry.add(
        Initialisation,
        xavier=Xavier,
        depth_scaled=DepthScaled,
        deepnorm=DeepNorm,
        kaiming=Kaiming,
        normal=Normal,
    )
