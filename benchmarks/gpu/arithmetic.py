"""Floating-point operations of a model, independent of the implementation."""

from collections.abc import Iterable
from typing import cast

from torch import nn

from seqx.data.ragged import Integers
from seqx_models import EncoderDecoder
from seqx_transformer import MultiHeadAttention, TransformerDecoder, TransformerEncoder


class Arithmetic:
    """Counts the floating-point operations of an encoder-decoder Transformer.

    A multiplication and an addition are two operations. Only matrix products are counted: linear maps,
    attention between all tokens of a sentence, and the output projection. The backward pass counts twice the
    forward pass. Padding is not counted.
    """

    def __init__(self, model: EncoderDecoder) -> None:
        encoder, decoder = (
            cast("TransformerEncoder", model.encoder),
            cast("TransformerDecoder", model.decoder),
        )
        cross_attentions = [cast("MultiHeadAttention", layer.cross_attention) for layer in decoder.layers]
        memory = sum(
            _size((attention.key, attention.value)) for attention in cross_attentions
        )  # per source token
        # Multiplications for each source token and for each target token.
        self.source = _size(encoder.modules()) + memory
        self.target = _size(decoder.modules()) - memory + model.target.weight.numel()
        # Multiplications for each pair of a query and a key.
        self.encoder_pairs = sum(_pairwise(layer.attention) for layer in encoder.layers)
        self.decoder_pairs = sum(_pairwise(layer.attention) for layer in decoder.layers)
        self.cross_pairs = sum(map(_pairwise, cross_attentions))

    def forward(self, source: Integers, target: Integers) -> int:
        """Return the operations of one forward pass over sentence pairs of these lengths, EOS included."""
        pairs = (
            self.encoder_pairs * source**2
            + self.decoder_pairs * target**2
            + self.cross_pairs * source * target
        )
        return 2 * int((self.source * source + self.target * target + pairs).sum())

    def training(self, source: Integers, target: Integers) -> int:
        """Return the operations of one forward and backward pass."""
        return 3 * self.forward(source, target)


def _size(modules: Iterable[nn.Module]) -> int:
    """Return the number of weights in the linear maps."""
    return sum(module.weight.numel() for module in modules if isinstance(module, nn.Linear))


def _pairwise(attention: nn.Module) -> int:
    """Return the multiplications for each pair of a query and a key: scores and weighted values."""
    assert isinstance(attention, MultiHeadAttention)
    return attention.heads * (attention.d_k + attention.d_v)
