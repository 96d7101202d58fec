"""Laws of encoders."""

from torch import Tensor

from seqx.interfaces.networks import Encoder
from seqx.testing import checks
from seqx.testing.law import Subject, law
from seqx.testing.samples import MEMORY, SOURCE_LENGTHS, B, D, S, layout, vectors


def _encode(encoder: Encoder) -> Tensor:
    """Return the states of all tokens [N, D]."""
    return encoder(MEMORY.inputs, MEMORY.layout)[MEMORY.layout.keep]


@law(Encoder)
def padding_does_not_change_outputs(subject: Subject) -> None:
    """The states of tokens depend neither on the embeddings of padding nor on its amount."""
    encoder, batch_layout, x = subject.build(D), layout(SOURCE_LENGTHS, S), vectors(B, S, D)
    expected = encoder(x, batch_layout)
    repadded = encoder(x.masked_fill(~batch_layout.keep[..., None], 100.0), batch_layout)
    checks.assert_close(repadded[batch_layout.keep], expected[batch_layout.keep])
    for i, length in enumerate(SOURCE_LENGTHS.tolist()):
        single = encoder(x[i : i + 1, :length], layout(SOURCE_LENGTHS[i : i + 1], length))
        checks.assert_close(single[0], expected[i, :length])


@law(Encoder)
def every_parameter_gets_a_gradient(subject: Subject) -> None:
    """Each trained parameter gets a gradient that is not all zeros."""
    checks.check_gradients(subject.build(D), _encode)


@law(Encoder)
def state_dict_round_trip(subject: Subject) -> None:
    """The state dict determines the outputs."""
    checks.check_state_dict(subject, _encode, D)


@law(Encoder)
def bfloat16_agrees(subject: Subject) -> None:
    """Outputs under bfloat16 autocast are close to those in float32."""
    checks.check_bfloat16(subject.build(D), _encode)


@law(Encoder)
def compiles(subject: Subject) -> None:
    """The component compiles to one graph and gives the same outputs."""
    checks.check_compilation(subject.build(D), _encode)
