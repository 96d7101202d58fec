"""Any encoder with any decoder: convolutions and the Transformer, each way."""

from functools import partial
from typing import Any

import torch

import seqx
import seqx.testing
import seqx_models
from seqx_convolution import ConvolutionDecoder, ConvolutionEncoder
from seqx_models import EncoderDecoder
from seqx_transformer import Learned, MultiHead, TransformerDecoder, TransformerEncoder

CONVOLUTION: dict[str, Any] = {"layers": 2, "width": [12, 16], "positions": partial(Learned, limit=32)}
TRANSFORMER: dict[str, Any] = {"layers": 1, "attention": partial(MultiHead, heads=2)}
READS = partial(ConvolutionEncoder, **CONVOLUTION)
WRITES = partial(ConvolutionDecoder, attention=partial(MultiHead, heads=1), **CONVOLUTION)


def models_of(encoder: Any, decoder: Any) -> Any:
    """The laws of models."""
    settings: dict[Any, dict[str, Any]] = {
        EncoderDecoder: {"d_model": 16, "encoder": encoder, "decoder": decoder}
    }
    return seqx.testing.laws(seqx_models, settings=settings)


test_convolutions = models_of(READS, WRITES)
test_a_transformer_writes = models_of(READS, partial(TransformerDecoder, **TRANSFORMER))
test_a_transformer_reads = models_of(partial(TransformerEncoder, **TRANSFORMER), WRITES)


def test_a_model_learns_to_turn_sentences_round() -> None:
    """Which takes order, attention and what was written before, from random weights to certainty."""
    model = EncoderDecoder(
        {"source": 11, "target": 11},
        d_model=32,
        share="all",
        scale_embeddings=False,
        embedding_std=0.3,
        encoder=partial(READS, width=32, dropout=0.0),
        decoder=partial(WRITES, width=32, dropout=0.0),
    ).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    generator = torch.Generator().manual_seed(1)

    def loss() -> torch.Tensor:
        ids = torch.randint(4, 11, (32, 6), generator=generator)
        source, target = (seqx.Tokens.of(x, torch.full((32,), 6)) for x in (ids, ids.flip(1)))
        return -model.score(source, target).mean()

    for _ in range(200):
        optimizer.zero_grad()
        loss().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert model.eval() is model
    assert loss().item() < 0.1
