"""The operations that a model's mathematics asks for, whatever an implementation adds or saves."""

from collections.abc import Iterable
from typing import cast

from torch import nn

from seqx.data.store import Integers
from seqx_models import EncoderDecoder
from seqx_transformer import MultiHeadAttention, TransformerDecoder, TransformerEncoder


class Arithmetic:
    """Counts the floating-point operations of an encoder-decoder Transformer, from its matrices.

    A multiplication and an addition are two operations. Matrix products alone are counted: of each linear map
    at the tokens that it is computed for, of attention between all places of a sentence, of the projection to
    the vocabulary. The passes backward take twice what the pass forward takes. Padding counts nothing.
    """

    def __init__(self, model: EncoderDecoder) -> None:
        encoder, decoder = (
            cast("TransformerEncoder", model.encoder),
            cast("TransformerDecoder", model.decoder),
        )
        crossing = [cast("MultiHeadAttention", layer.cross_attention) for layer in decoder.layers]
        reading = sum(_size((attention.key, attention.value)) for attention in crossing)
        # Multiplications for each token of the source, and of the target.
        self.source = _size(encoder.modules()) + reading
        self.target = _size(decoder.modules()) - reading + model.target.weight.numel()
        # Multiplications for each pair of a query and a key.
        self.own = sum(_pairwise(layer.attention) for layer in encoder.layers)
        self.written = sum(_pairwise(layer.attention) for layer in decoder.layers)
        self.crossed = sum(map(_pairwise, crossing))

    def forward(self, source: Integers, target: Integers) -> int:
        """Operations of one pass forward over sentences of these lengths, EOS counted."""
        pairs = self.own * source**2 + self.written * target**2 + self.crossed * source * target
        return 2 * int((self.source * source + self.target * target + pairs).sum())

    def training(self, source: Integers, target: Integers) -> int:
        """Operations of one update."""
        return 3 * self.forward(source, target)


def _size(modules: Iterable[nn.Module]) -> int:
    return sum(module.weight.numel() for module in modules if isinstance(module, nn.Linear))


def _pairwise(attention: nn.Module) -> int:
    """Of scores, and of what is gathered."""
    assert isinstance(attention, MultiHeadAttention)
    return attention.heads * (attention.d_k + attention.d_v)
