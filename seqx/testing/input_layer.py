"""Laws of input layers."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seqx.interfaces.input_layer import InputLayer
from seqx.interfaces.tensors import Column, Features
from seqx.testing.checks import assert_close, assert_sentences_are_independent
from seqx.testing.law import Subject, law
from seqx.testing.network import Sample, add_network_laws
from seqx.testing.samples import SIZE, SOURCE, SOURCE_LENGTHS, B, D, S, token_mask, vectors

VECTORS = Column.of(
    vectors(B, S, SIZE).masked_fill(~token_mask(SOURCE_LENGTHS, S)[..., None], 0), SOURCE_LENGTHS
)


@dataclass(frozen=True)
class LayerSample(Sample):
    """A call of an input layer, which is built for ids or for vectors."""

    def network(self, subject: Subject, seed: int = 0) -> nn.Module:
        """Build the layer of a subject."""
        return _layer(subject, seed)


def _layer(subject: Subject, seed: int = 0) -> InputLayer:
    reads_ids = getattr(subject.component.maker, "reads_ids", False)
    layer: InputLayer = subject.build(SIZE if reads_ids else Features(SIZE), D, seed=seed)
    return layer


def _source(layer: InputLayer) -> Column:
    return SOURCE if layer.reads_ids else VECTORS


def _embed(layer: InputLayer) -> Tensor:
    """Return the embeddings of all tokens [N, D]."""
    embeddings, layout = layer(_source(layer))
    return embeddings[layout.keep]


add_network_laws(InputLayer, LayerSample(_embed, [], (VECTORS.values, SOURCE.values, VECTORS.layout.keep)))


@law(InputLayer)
def layout_describes_embeddings(subject: Subject) -> None:
    """The layout has the lengths that `output_length` returns, and positions from 0 without gaps."""
    layer = _layer(subject)
    embeddings, layout = layer(_source(layer))
    expected = [layer.output_length(length) for length in SOURCE_LENGTHS.tolist()]
    lengths = layout.keep.sum(1)
    assert lengths.tolist() == expected, (
        f"forward: sources of {SOURCE_LENGTHS.tolist()} tokens get {lengths.tolist()} embeddings, but "
        f"`output_length` returns {expected}; override `output_length`"
    )
    shape = (*layout.keep.shape, D)
    assert embeddings.shape == shape, (
        f"forward: embeddings have the shape {tuple(embeddings.shape)}, but `layout.keep` and d_model "
        f"require {shape}"
    )
    keep = token_mask(lengths, layout.keep.size(1))
    assert layout.keep.equal(keep), "forward: `layout.keep` has padding before the end of a sentence"
    positions = torch.arange(keep.size(1)).expand_as(keep)[keep]
    assert layout.positions[keep].equal(positions), (
        "forward: the positions of embeddings are not 0, 1, 2, ...; use `seqx.Layout.of(keep)`"
    )


@law(InputLayer)
def padding_does_not_change_outputs(subject: Subject) -> None:
    """A source has the same embeddings alone as in a padded batch."""
    layer = _layer(subject)
    source = _source(layer)
    embeddings, layout = layer(source)
    for i, length in enumerate(SOURCE_LENGTHS.tolist()):
        single, _ = layer(Column.of(source.values[i : i + 1, :length], torch.tensor([length])))
        assert_close(
            single[0],
            embeddings[i][layout.keep[i]],
            "forward: the embeddings of a source depend on the amount of padding. Set the inputs of each "
            "convolution to 0 on padding, and compute means and norms over tokens only",
        )


@law(InputLayer)
def sentences_do_not_influence_each_other(subject: Subject) -> None:
    """In training mode, the embeddings of a source do not depend on the other sources."""
    layer = _layer(subject)
    values, layout = _source(layer)
    assert_sentences_are_independent(layer, lambda x: layer(Column(x, layout))[0], values, "forward")
