"""Input layers for sources of vectors, and models that use them."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

import seqx
from seqx.inference.decoding import longest_source
from seqx_models import (
    Classifier,
    DecoderOnly,
    EncoderDecoder,
    GeneratorEnsemble,
    Projection,
    StridedConvolution,
)
from seqx_transformer import Learned, MultiHeadAttention, TransformerDecoder, TransformerEncoder

SIZES = {"source": seqx.Features(3), "target": 9}
STACK: dict[str, Any] = {"layers": 1, "attention": partial(MultiHeadAttention, heads=2)}


def build(vocab_sizes: dict[str, int] = SIZES, **settings: Any) -> EncoderDecoder:
    torch.manual_seed(1)
    small: dict[str, Any] = {
        "d_model": 16,
        "encoder": partial(TransformerEncoder, **STACK),
        "decoder": partial(TransformerDecoder, **STACK),
        "source_input": Projection,
    }
    return EncoderDecoder(vocab_sizes, **(small | settings)).eval()


def vectors(*lengths: int) -> seqx.Column:
    values = torch.randn(len(lengths), max(lengths), 3, generator=torch.Generator().manual_seed(2))
    keep = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return seqx.Column.of(values * keep[..., None], torch.tensor(lengths))


TARGET = seqx.Column.of(torch.tensor([[4, 5, 2], [6, 2, 0]]), torch.tensor([3, 2]))


def test_projection_keeps_the_variance_of_features() -> None:
    torch.manual_seed(1)
    embeddings, layout = Projection(seqx.Features(3), 64).embed(vectors(200, 150))
    assert embeddings[layout.keep].var().item() == pytest.approx(1, rel=0.2)


@pytest.mark.parametrize(("layers", "kernel", "stride"), [(1, 3, 1), (2, 3, 2), (1, 4, 3), (3, 2, 2)])
def test_convolution_shortens_each_source(layers: int, kernel: int, stride: int) -> None:
    layer = StridedConvolution(seqx.Features(3), 8, layers=layers, kernel=kernel, stride=stride)
    lengths = range(1, 40)
    embeddings, layout = layer.embed(vectors(*lengths))
    assert layout.keep.sum(1).tolist() == [layer.output_length(length) for length in lengths]
    assert layer.output_length(39) == -(-39 // stride**layers)
    assert embeddings.shape == (39, layer.output_length(39), 8)


def test_convolution_reads_every_vector() -> None:
    layer, source = StridedConvolution(seqx.Features(3), 8), vectors(11)
    source.values.requires_grad_()
    layer.embed(source)[0].square().sum().backward()  # type: ignore[no-untyped-call]
    assert source.values.grad is not None
    assert source.values.grad.abs().sum(-1).gt(0).all()


def test_convolution_keeps_segments() -> None:
    segments = torch.tensor([[0, 0, 0, 0, 1, 1, 1, 1]])
    values, layout = vectors(8)
    _, strided = StridedConvolution(seqx.Features(3), 8).embed(
        seqx.Column(values, layout._replace(segments=segments))
    )
    assert strided.segments is not None
    assert strided.segments.tolist() == [[0, 1]]


def test_convolution_refuses_a_stride_that_skips_vectors() -> None:
    with pytest.raises(ValueError, match="stride is 3 and kernel 2, which skips tokens; set kernel: 3"):
        StridedConvolution(seqx.Features(3), 8, kernel=2, stride=3)


@pytest.mark.parametrize("layer", [Projection, StridedConvolution])
def test_model_with_vectors_gives_the_same_scores_alone_and_in_a_batch(layer: Any) -> None:
    model = build(source_input=layer)
    together = model.score(seqx.Batch.of(source=vectors(9, 6), target=TARGET))
    values = vectors(9, 6).values[1:, :6]
    source = seqx.Column.of(values, torch.tensor([6]))
    target = seqx.Column.of(TARGET.values[1:, :2], torch.tensor([2]))
    alone = model.score(seqx.Batch.of(source=source, target=target))
    torch.testing.assert_close(alone[0], together[1, :2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layer", [Projection, StridedConvolution])
def test_model_with_vectors_has_no_embedding_of_the_source(layer: Any) -> None:
    names = [name for name, _ in build(source_input=layer).named_parameters() if name.startswith("source.")]
    assert names == [f"source.{name}" for name, _ in layer(seqx.Features(3), 16).named_parameters()]


def test_limit_of_positions_counts_embeddings() -> None:
    encoder = partial(TransformerEncoder, **STACK, positions=partial(Learned, limit=5))
    model = build(source_input=StridedConvolution, encoder=encoder)
    assert model.limit == 5
    lengths = {"source": np.array([20, 21, 8]), "target": np.array([3, 3, 4])}
    assert model.positions_used(lengths).tolist() == [5, 6, 4]
    model.score(seqx.Batch.of(source=vectors(20, 18), target=TARGET))


def test_ensemble_counts_embeddings_against_the_limit_of_each_model() -> None:
    encoder = partial(TransformerEncoder, **STACK, positions=partial(Learned, limit=5))
    longer = partial(TransformerEncoder, **STACK, positions=partial(Learned, limit=21))
    shortened = build(source_input=StridedConvolution, encoder=encoder)
    unshortened, unlimited = build(encoder=longer), build()
    lengths = {"source": np.array([20, 21, 22, 8]), "target": np.array([3, 3, 3, 4])}
    for models in ([shortened, unlimited], [shortened, unshortened], [unshortened, shortened]):
        ensemble = GeneratorEnsemble(models)
        assert ensemble.limit == 5
        fits = [each.positions_used(lengths) <= each.limit for each in models if each.limit is not None]
        assert (ensemble.positions_used(lengths) <= 5).tolist() == np.logical_and.reduce(fits).tolist()
        assert longest_source(ensemble) == longest_source(shortened) == 20
    assert GeneratorEnsemble([unlimited]).positions_used(lengths).tolist() == [20, 21, 22, 8]


def test_classifier_reads_vectors() -> None:
    model = Classifier(
        SIZES, d_model=16, encoder=partial(TransformerEncoder, **STACK), source_input=StridedConvolution
    )
    target = seqx.Column.of(torch.tensor([[4], [5]]), torch.tensor([1, 1]))
    assert model(seqx.Batch.of(source=vectors(9, 5), target=target)).shape == (2, 1, 16)
    lengths = {"source": np.array([9]), "target": np.array([1])}
    assert model.positions_used(lengths).tolist() == [3]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            partial(build, source_input=None),
            r"vectors of 3 features, not token ids; .* source_input: projection",
        ),
        (
            partial(build, {"source": 9, "target": 9}),
            "this input layer reads vectors, but .* the ids of 9 symbols",
        ),
        (partial(build, tie_embeddings="all"), "which source_input replaces; set tie_embeddings: target"),
        (
            partial(
                DecoderOnly,
                {"source": seqx.Features(9), "target": seqx.Features(9)},
                decoder=partial(TransformerDecoder, **STACK, use_source=False),
            ),
            "vectors of 9 features, not token ids",
        ),
    ],
)
def test_models_refuse_sources_that_they_cannot_read(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


class Bytes(seqx.InputLayer):
    """An input layer that reads ids."""

    reads_ids = True

    def forward(self, source: seqx.Column) -> tuple[torch.Tensor, seqx.Layout]:
        raise NotImplementedError


def test_layer_of_ids_refuses_vectors() -> None:
    with pytest.raises(
        ValueError, match=r"this input layer reads token ids, but the source .* vectors of 3 features"
    ):
        Bytes(seqx.Features(3), 8)
