"""Attention weights of models."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

import seqx
from seqx.inference.attention_maps import attention_maps, record_attention
from seqx_models import DecoderOnly, EncoderDecoder
from seqx_transformer import (
    AdditiveAttention,
    GroupedQueryAttention,
    MultiHeadAttention,
    RestrictedAttention,
    TransformerDecoder,
    TransformerEncoder,
)

SIZES = {"source": 20, "target": 20}


def model(**settings: seqx.Make[seqx.Attention]) -> EncoderDecoder:
    torch.manual_seed(0)
    stack: dict[str, Any] = {"layers": 2, "attention": partial(MultiHeadAttention, heads=4), **settings}
    encoder = {name: value for name, value in stack.items() if name != "cross_attention"}
    encoder_decoder = EncoderDecoder(
        SIZES,
        d_model=16,
        encoder=partial(TransformerEncoder, **encoder),
        decoder=partial(TransformerDecoder, **stack),
    )
    return encoder_decoder.eval()


def tokens(*lengths: int, seed: int = 1) -> seqx.Column:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(4, 20, (len(lengths), max(lengths)), generator=generator)
    return seqx.Column.of(ids, torch.tensor(lengths))


def test_attention_maps_are_in_the_order_of_the_layers() -> None:
    found = attention_maps(model(), seqx.Batch.of(source=tokens(5, 3), target=tokens(7, 6)))
    assert {name: (x.queries, x.keys, tuple(x.weights.shape)) for name, x in found.items()} == {
        **{f"encoder.layers.{i}.attention": ("source", "source", (2, 4, 5, 5)) for i in range(2)},
        **{f"decoder.layers.{i}.attention": ("target", "target", (2, 4, 7, 7)) for i in range(2)},
        **{f"decoder.layers.{i}.cross_attention": ("target", "source", (2, 4, 7, 5)) for i in range(2)},
    }
    names = list(found)
    assert names[:4] == [
        "encoder.layers.0.attention",
        "encoder.layers.1.attention",
        "decoder.layers.0.attention",
        "decoder.layers.0.cross_attention",
    ]
    cross = found["decoder.layers.1.cross_attention"].weights
    assert not cross[1, :, :, 3:].count_nonzero()  # padding
    past = found["decoder.layers.0.attention"].weights
    assert not past.triu(1).count_nonzero()


def test_attention_maps_distinguish_source_and_target_of_one_length() -> None:
    alone = attention_maps(model(), seqx.Batch.of(source=tokens(6), target=tokens(6, seed=2)))
    ids = nn.functional.pad(tokens(6, seed=2).values, (0, 2))
    padded = attention_maps(
        model(), seqx.Batch.of(source=tokens(6), target=seqx.Column.of(ids, torch.tensor([6])))
    )
    longer = attention_maps(model(), seqx.Batch.of(source=tokens(6, 7), target=tokens(6, 5, seed=2)))
    sides = [(x.queries, x.keys) for x in alone.values()]
    assert sides == [("source", "source")] * 2 + [("target", "target"), ("target", "source")] * 2
    for name, expected in alone.items():
        queries, keys = expected.weights.shape[2:]
        torch.testing.assert_close(padded[name].weights[:, :, :queries, :keys], expected.weights)
    assert [(x.queries, x.keys) for x in longer.values()] == sides
    assert all(x.weights.shape == (1, 4, 6, 6) for x in alone.values())


def test_each_attention_gives_its_own_weights() -> None:
    mixed = model(
        attention=partial(RestrictedAttention, heads=4, window=1), cross_attention=AdditiveAttention
    )
    found = attention_maps(mixed, seqx.Batch.of(source=tokens(9), target=tokens(8)))
    window = found["encoder.layers.0.attention"].weights[0]
    assert not (window.triu(2) + window.tril(-2)).count_nonzero()
    assert found["decoder.layers.0.cross_attention"].weights.shape == (1, 1, 8, 9)
    grouped = model(attention=partial(GroupedQueryAttention, heads=4, groups=2))
    found = attention_maps(grouped, seqx.Batch.of(source=tokens(9), target=tokens(8)))
    assert found["decoder.layers.1.attention"].weights.shape == (1, 4, 8, 8)


def test_attention_maps_of_a_language_model_have_one_text() -> None:
    torch.manual_seed(0)
    decoder = partial(
        TransformerDecoder, layers=1, attention=partial(MultiHeadAttention, heads=2), use_source=False
    )
    language_model = DecoderOnly(SIZES, d_model=16, decoder=decoder).eval()
    found = attention_maps(language_model, seqx.Batch.of(source=tokens(5), target=tokens(4)))[
        "decoder.layers.0.attention"
    ]
    assert (found.queries, found.keys, found.weights.shape) == ("text", "text", (1, 2, 8, 8))
    torch.testing.assert_close(found.weights.sum(-1), torch.ones(1, 2, 8))
    only_eos = attention_maps(language_model, seqx.Batch.of(source=tokens(5), target=tokens(1)))[
        "decoder.layers.0.attention"
    ]
    assert (only_eos.queries, only_eos.keys, only_eos.weights.shape) == ("text", "text", (1, 2, 5, 5))
    only_bos = attention_maps(language_model, seqx.Batch.of(source=tokens(1), target=tokens(4)))[
        "decoder.layers.0.attention"
    ]
    assert (only_bos.queries, only_bos.keys, only_bos.weights.shape) == ("target", "target", (1, 2, 4, 4))


class AttentionWithoutWeights(MultiHeadAttention):
    """An attention that returns no weights."""

    def weights(  # type: ignore[override]
        self, queries: Tensor, positioned: seqx.Positioned, memory: seqx.KeyValue, mask: seqx.Mask
    ) -> None:
        return None


def test_attention_without_weights_has_no_map() -> None:
    found = attention_maps(
        model(cross_attention=AttentionWithoutWeights), seqx.Batch.of(source=tokens(5), target=tokens(4))
    )
    assert found
    assert not any("cross" in name for name in found)


class Stepping(nn.Module):
    """A module that attends to its past, token by token."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(16, heads=2)

    def forward(self, x: Tensor) -> None:
        past: seqx.KeyValue | None = None
        for t in range(x.size(1)):
            step = x[:, t : t + 1]
            layout = seqx.Layout(torch.ones(1, 1, dtype=torch.bool), torch.tensor([[t]]))
            positioned = seqx.Positioned.unordered(layout)
            new = self.attention.project(step, step, positioned)
            past = new if past is None else past.extend(new)
            self.attention(step, positioned, past, mask=seqx.Mask(causal=True))


def test_several_calls_of_one_attention_are_one_map() -> None:
    stepping, x = Stepping(), torch.randn(1, 5, 16, generator=torch.Generator().manual_seed(0))
    with record_attention(stepping) as seen:
        stepping(x)
    layout = seqx.Layout.of(torch.ones(1, 5, dtype=torch.bool))
    positioned = seqx.Positioned.unordered(layout)
    attention = stepping.attention
    whole = attention.weights(x, positioned, attention.project(x, x, positioned), seqx.Mask(causal=True))
    torch.testing.assert_close(seen["attention"], whole.detach())
    assert not stepping.attention._forward_hooks
