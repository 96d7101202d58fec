"""The layers of the Transformer's encoder and decoder.

Letters in shapes: B sentences, S source tokens, T target tokens, D = d_model.
"""

from torch import Tensor, nn

import seqx
from seqx_transformer.layer_parts import FeedForward, Residual


class TransformerEncoderLayer(nn.Module):
    """Self-attention and a feed-forward network, each inside a residual connection.

    Args:
        attention: self-attention
        feedforward: feed-forward network
        attention_residual: residual connection around the self-attention
        feedforward_residual: residual connection around the feed-forward network
    """

    def __init__(
        self,
        attention: seqx.Attention,
        feedforward: FeedForward,
        attention_residual: Residual,
        feedforward_residual: Residual,
    ) -> None:
        super().__init__()
        self.attention = attention
        self.feedforward = feedforward
        self.attended = attention_residual
        self.transformed = feedforward_residual

    def forward(self, x: Tensor, positioned: seqx.Positioned, mask: seqx.Mask) -> Tensor:
        """Map [B, S, D] to [B, S, D]."""
        h = self.attended.sublayer_input(x)
        h = self.attention(h, positioned, self.attention.project(h, h, positioned), mask)
        x = self.attended(x, h)
        h = self.feedforward(self.transformed.sublayer_input(x))
        return self.transformed(x, h)


class TransformerDecoderLayer(nn.Module):
    """Causal self-attention, cross-attention and a feed-forward network, each inside a residual connection.

    Args:
        attention: self-attention
        cross_attention: attention to the source; None without a source
        feedforward: feed-forward network
        attention_residual: residual connection around the self-attention
        cross_residual: residual connection around the cross-attention; None without a source
        feedforward_residual: residual connection around the feed-forward network
    """

    def __init__(
        self,
        attention: seqx.Attention,
        cross_attention: seqx.Attention | None,
        feedforward: FeedForward,
        attention_residual: Residual,
        cross_residual: Residual | None,
        feedforward_residual: Residual,
    ) -> None:
        super().__init__()
        self.attention = attention
        self.cross_attention = cross_attention
        self.feedforward = feedforward
        self.attended = attention_residual
        self.crossed = cross_residual
        self.transformed = feedforward_residual

    def forward(
        self, x: Tensor, positioned: seqx.Positioned, past: seqx.KeyValue | None, source: seqx.KeyValue | None
    ) -> tuple[Tensor, seqx.KeyValue]:
        """Map [B, T, D] to [B, T, D]; also return `past` with the keys and values of these T tokens added."""
        h = self.attended.sublayer_input(x)
        new = self.attention.project(h, h, positioned)
        past = new if past is None else past.extend(new)
        x = self.attended(x, self.attention(h, positioned, past, seqx.Mask(causal=True)))
        if self.cross_attention is not None and self.crossed is not None and source is not None:
            unordered = seqx.Positioned.unordered(positioned.layout)
            h = self.cross_attention(self.crossed.sublayer_input(x), unordered, source, seqx.Mask())
            x = self.crossed(x, h)
        h = self.feedforward(self.transformed.sublayer_input(x))
        return self.transformed(x, h), past
