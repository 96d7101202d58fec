"""Packed rows give the same loss and gradients as rows with one example each."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import seqx
from seqx.data.batches import collate
from seqx.data.packed_rows import pack
from seqx.data.ragged import Ragged
from seqx_convolution import ConvolutionDecoder, ConvolutionEncoder
from seqx_models import DecoderOnly, EncoderDecoder, StridedConvolution
from seqx_parsing.guided import GuidedEncoderDecoder
from seqx_recurrent import LSTMDecoder, LSTMEncoder
from seqx_tagging.token_labels import TaggingModel, TaggingObjective
from seqx_training import CrossEntropy, RDrop
from seqx_transformer import (
    Alibi,
    GroupedQueryAttention,
    LinearAttention,
    MultiHeadAttention,
    RestrictedAttention,
    Rotary,
    Shaw,
    Sinusoidal,
    TransformerDecoder,
    TransformerEncoder,
)

SIZES = {"source": 30, "target": 30}
EXAMPLES = [np.array([0, 1, 4]), np.array([2]), np.array([3, 5])]


def columns() -> dict[str, Ragged]:
    rng = np.random.default_rng(1)
    sides = {"source": [5, 3, 9, 4, 1, 6], "target": [4, 6, 8, 1, 2, 5]}
    return {
        name: Ragged.of_rows([[*rng.integers(4, 30, length - 1), seqx.EOS] for length in lengths])
        for name, lengths in sides.items()
    }


def parsing_columns() -> dict[str, Ragged]:
    """Return the same columns with marks of words, and with labels of their first tokens."""
    rng = np.random.default_rng(2)
    sides = columns()
    starts = [[1, *rng.integers(0, 2, max(0, n - 2)), 0][:n] for n in sides["source"].lengths().tolist()]
    labels = [[int(rng.integers(4, 7)) if start else seqx.PAD for start in row] for row in starts]
    return {**sides, "tags": Ragged.of_rows(labels), seqx.WORDS: Ragged.of_rows(starts)}


def parser() -> TaggingModel:
    torch.manual_seed(1)
    stack: dict[str, Any] = {"layers": 2, "dropout": 0.0, "attention": partial(MultiHeadAttention, heads=2)}
    inner = partial(
        GuidedEncoderDecoder,
        d_model=16,
        encoder=partial(TransformerEncoder, **stack),
        decoder=partial(TransformerDecoder, **stack),
    )
    return TaggingModel({**SIZES, "tags": 7, seqx.WORDS: 20}, inner=inner, dropout=0.0)


def model(attention: Any = MultiHeadAttention, positions: Any = Sinusoidal) -> EncoderDecoder:
    torch.manual_seed(1)
    make = partial(attention, heads=2)
    stack: dict[str, Any] = {"layers": 2, "positions": positions, "dropout": 0.0}
    return EncoderDecoder(
        SIZES,
        d_model=16,
        encoder=partial(TransformerEncoder, attention=make, **stack),
        decoder=partial(
            TransformerDecoder, attention=make, cross_attention=partial(MultiHeadAttention, heads=2), **stack
        ),
    )


def convolutional_model(**decoder: Any) -> EncoderDecoder:
    torch.manual_seed(1)
    stack: dict[str, Any] = {"layers": 3, "width": 8, "dropout": 0.0, "positions": Sinusoidal}
    attention = partial(MultiHeadAttention, heads=1)
    return EncoderDecoder(
        SIZES,
        d_model=16,
        encoder=partial(ConvolutionEncoder, kernel=[3, 4, 3], **stack),
        decoder=partial(ConvolutionDecoder, kernel=[3, 2, 3], attention=attention, **stack, **decoder),
    )


def loss_and_gradients(
    built: seqx.Model, batch: seqx.Batch, objective: seqx.Objective | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    built.zero_grad()
    objective = objective or CrossEntropy()
    sums = objective(built, batch)
    loss = torch.stack([sums[name] for name in objective.trained_on]).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach(), {name: p.grad for name, p in built.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    "make",
    [
        model,
        partial(model, MultiHeadAttention, Shaw),
        partial(model, GroupedQueryAttention, Rotary),
        partial(model, MultiHeadAttention, Alibi),
        partial(model, LinearAttention),
        partial(model, partial(RestrictedAttention, window=2)),
        convolutional_model,
        partial(convolutional_model, source_positions=Sinusoidal),
    ],
)
def test_packed_rows_give_the_same_loss_and_gradients(make: Any) -> None:
    assert_same_loss_and_gradients(make(), CrossEntropy(), columns())


@pytest.mark.parametrize("inner", [CrossEntropy, RDrop])
def test_packed_rows_give_a_parser_the_same_loss_and_gradients(inner: Any) -> None:
    assert_same_loss_and_gradients(parser(), TaggingObjective(inner=inner()), parsing_columns())


def assert_same_loss_and_gradients(
    built: seqx.Model, objective: seqx.Objective, sides: dict[str, Ragged]
) -> None:
    assert built.reads_packed_rows
    assert objective.reads_packed_rows
    expected, gradients = loss_and_gradients(built, collate(sides), objective)
    row = pack(sides, EXAMPLES, dict.fromkeys(sides, 16), pin=False)
    loss, packed_gradients = loss_and_gradients(built, row.batch, objective)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    assert packed_gradients.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(packed_gradients[name], gradient, rtol=1e-4, atol=1e-4, msg=name)


@pytest.mark.parametrize("make", [model, convolutional_model])
@pytest.mark.parametrize("column", ["source", "target"])
def test_rows_without_segments_give_another_loss(column: str, make: Any) -> None:
    """The comparison above finds a model that ignores the segments."""
    built = make()
    expected, _ = loss_and_gradients(built, collate(columns()))
    batch = pack(columns(), EXAMPLES, {"source": 16, "target": 16}, pin=False).batch
    values, layout = batch.columns[column]
    merged = layout._replace(segments=torch.zeros_like(layout.positions))
    loss, _ = loss_and_gradients(
        built, seqx.Batch({**batch.columns, column: seqx.Column(values, merged)}, batch.count)
    )
    assert abs(float(loss - expected)) > 1e-3


def test_models_with_other_parts_do_not_read_packed_rows() -> None:
    class OtherAttention(MultiHeadAttention):
        reads_packed_rows = False

    transformer: dict[str, Any] = {"encoder": TransformerEncoder, "decoder": TransformerDecoder}
    recurrent: dict[str, Any] = {
        "encoder": LSTMEncoder,
        "decoder": partial(LSTMDecoder, attention=MultiHeadAttention),
    }
    vectors = {**SIZES, "source": seqx.Features(3)}
    assert EncoderDecoder(SIZES, d_model=16, **transformer).reads_packed_rows
    assert not EncoderDecoder(SIZES, d_model=16, **recurrent).reads_packed_rows
    assert not EncoderDecoder(SIZES, d_model=16, **{**transformer, "encoder": LSTMEncoder}).reads_packed_rows
    assert not EncoderDecoder(
        vectors, d_model=16, source_input=StridedConvolution, **transformer
    ).reads_packed_rows
    assert not model(OtherAttention).reads_packed_rows
    language_model = partial(TransformerDecoder, use_source=False)
    assert not DecoderOnly(SIZES, d_model=16, decoder=language_model).reads_packed_rows
    assert CrossEntropy.reads_packed_rows
    assert RDrop.reads_packed_rows
    assert not seqx.Objective.reads_packed_rows
