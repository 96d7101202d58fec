"""Laws of encoders."""

import torch
from torch import Tensor

from seqx.interfaces.networks import Encoder
from seqx.testing.checks import assert_close, assert_sentences_are_independent
from seqx.testing.law import Subject, law
from seqx.testing.network import PACKED, Sample, add_network_laws
from seqx.testing.samples import MEMORY, SOURCE_LENGTHS, B, D, S, layout, packed, packed_layout, vectors


def _encode(encoder: Encoder) -> Tensor:
    """Return the states of all tokens [N, D]."""
    return encoder(MEMORY.inputs, MEMORY.layout)[MEMORY.layout.keep]


add_network_laws(Encoder, Sample(_encode, [D], (MEMORY.inputs, MEMORY.layout.keep, MEMORY.layout.positions)))

PADDING = (
    "forward: the states of tokens depend on {} of padding, so on the batch. Use `layout.keep`: mask "
    "attention, compute means and norms over tokens only, and set inputs of convolutions to 0 on padding"
)


@law(Encoder)
def padding_does_not_change_outputs(subject: Subject) -> None:
    """The states of tokens depend neither on the embeddings of padding nor on its amount."""
    encoder, batch_layout, x = subject.build(D), layout(SOURCE_LENGTHS, S), vectors(B, S, D)
    expected = encoder(x, batch_layout)
    assert expected.shape == (B, S, D), (
        f"forward: return [B, S, D] = {(B, S, D)}, not {tuple(expected.shape)}"
    )
    keep = batch_layout.keep
    repadded = encoder(x.masked_fill(~keep[..., None], 100.0), batch_layout)
    assert_close(repadded[keep], expected[keep], PADDING.format("the embeddings"))
    for i, length in enumerate(SOURCE_LENGTHS.tolist()):
        single = encoder(x[i : i + 1, :length], layout(SOURCE_LENGTHS[i : i + 1], length))
        assert_close(single[0], expected[i, :length], PADDING.format("the amount"))


@law(Encoder)
def sentences_do_not_influence_each_other(subject: Subject) -> None:
    """In training mode, states of a sentence do not depend on the other sentences."""
    encoder = subject.build(D)
    assert_sentences_are_independent(
        encoder, lambda x: encoder(x, MEMORY.layout), vectors(B, S, D), "forward"
    )


@law(Encoder)
def packed_rows_give_the_same_outputs(subject: Subject) -> None:
    """With `reads_packed_rows`, sentences in one row have the same outputs as in rows of their own."""
    encoder, x = subject.build(D), vectors(B, S, D)
    if encoder.reads_packed_rows:
        parts = (x[i : i + 1, :length] for i, length in enumerate(SOURCE_LENGTHS.tolist()))
        expected = torch.cat(
            [
                encoder(part, packed_layout(torch.tensor([part.size(1)]))._replace(segments=None))[0]
                for part in parts
            ]
        )
        actual = encoder(packed(x, SOURCE_LENGTHS), packed_layout(SOURCE_LENGTHS))
        assert_close(actual[0], expected, PACKED)
