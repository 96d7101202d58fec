"""A ConvS2S model learns to reverse sentences, and memorises captions."""

import gzip
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

import seqx
from seqx_convolution import ConvolutionDecoder, ConvolutionEncoder
from seqx_models import EncoderDecoder
from seqx_search import Greedy
from seqx_transformer import Learned, MultiHeadAttention

CONVOLUTION: dict[str, Any] = {"layers": 2, "width": [12, 16], "positions": partial(Learned, limit=32)}
ENCODER = partial(ConvolutionEncoder, **CONVOLUTION)
DECODER = partial(ConvolutionDecoder, attention=partial(MultiHeadAttention, heads=1), **CONVOLUTION)


def small_model(symbols: int) -> EncoderDecoder:
    return EncoderDecoder(
        {"source": symbols, "target": symbols},
        d_model=32,
        tie_embeddings="all",
        scale_embeddings=False,
        embedding_std=0.3,
        encoder=partial(ENCODER, width=32, dropout=0.0),
        decoder=partial(DECODER, width=32, dropout=0.0),
    ).train()


def train(model: EncoderDecoder, steps: int, pairs: Callable[[], tuple[seqx.Column, seqx.Column]]) -> float:
    """Train a model; return the final loss per token."""
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    loss = torch.zeros(())
    for _ in range(steps):
        source, target = pairs()
        loss = -model.score(seqx.Batch.of(source=source, target=target))[target.layout.keep].mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert model.eval() is model
    return loss.item()


def test_convs2s_learns_to_reverse_sentences() -> None:
    """To reverse a sentence, a model needs positions, attention and the previous target tokens."""
    generator = torch.Generator().manual_seed(1)

    def pairs() -> tuple[seqx.Column, seqx.Column]:
        ids = torch.randint(4, 11, (32, 6), generator=generator)
        return seqx.Column.of(ids, torch.full((32,), 6)), seqx.Column.of(ids.flip(1), torch.full((32,), 6))

    assert train(small_model(11), 50, pairs) < 0.1


def test_convs2s_reproduces_memorised_captions(data: Callable[[str], Path]) -> None:
    """Captions of different lengths are trained in one padded batch, and decoded token by token."""
    words: dict[str, int] = {}

    def read(language: str) -> list[torch.Tensor]:
        with gzip.open(data("multi30k") / f"val.{language}.gz", "rt", encoding="utf-8") as file:
            lines = [next(file).split() for _ in range(16)]
        return [torch.tensor([words.setdefault(w, len(words) + 4) for w in ws] + [seqx.EOS]) for ws in lines]

    def tokens(rows: list[torch.Tensor]) -> seqx.Column:
        return seqx.Column.of(pad_sequence(rows, batch_first=True), torch.tensor([len(row) for row in rows]))

    english, german = read("en"), read("de")
    model, source = small_model(len(words) + 4), tokens(english)
    assert train(model, 60, lambda: (source, tokens(german))) < 0.05
    hypotheses = Greedy()(model, source, torch.full((16,), 32))
    assert [best.ids for best, *_ in hypotheses] == [row.tolist()[:-1] for row in german]
