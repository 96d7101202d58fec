"""ConvS2S: a convolutional encoder, and a convolutional decoder with attention in every layer.

Gehring et al. 2017.
"""

import seqx
from seqx_convolution.decoder import ConvolutionDecoder
from seqx_convolution.encoder import ConvolutionEncoder

__all__ = ["ConvolutionDecoder", "ConvolutionEncoder"]


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    """Register the encoder and the decoder."""
    registry.add(seqx.Encoder, convolution=ConvolutionEncoder)
    registry.add(seqx.Decoder, convolution=ConvolutionDecoder)
