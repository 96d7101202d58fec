"""The laws of encoders."""

from torch import Tensor

from seqx.interfaces.networks import Encoder
from seqx.testing import checks
from seqx.testing.law import Subject, law
from seqx.testing.samples import MEMORY, SOURCE_LENGTHS, B, D, S, layout, vectors


def _read(encoder: Encoder) -> Tensor:
    return encoder(MEMORY.inputs, MEMORY.layout)[MEMORY.layout.keep]


@law(Encoder)
def padding_changes_nothing(subject: Subject) -> None:
    """Neither what stands there nor how much of it there is."""
    encoder, places, x = subject.build(D), layout(SOURCE_LENGTHS, S), vectors(B, S, D)
    expected = encoder(x, places)
    other = encoder(x.masked_fill(~places.keep[..., None], 100.0), places)
    checks.same(other[places.keep], expected[places.keep])
    for i, length in enumerate(SOURCE_LENGTHS.tolist()):
        alone = encoder(x[i : i + 1, :length], layout(SOURCE_LENGTHS[i : i + 1], length))
        checks.same(alone[0], expected[i, :length])


@law(Encoder)
def every_parameter_gets_a_gradient(subject: Subject) -> None:
    """Nothing is kept that cannot learn."""
    checks.parameters_learn(subject.build(D), _read)


@law(Encoder)
def state_dict_round_trip(subject: Subject) -> None:
    """The state dict is all there is to it."""
    checks.state_dict_holds_all(subject, _read, D)


@law(Encoder)
def bfloat16_agrees(subject: Subject) -> None:
    """Autocast changes little."""
    checks.bfloat16_agrees(subject.build(D), _read)


@law(Encoder)
def compiles(subject: Subject) -> None:
    """In one graph."""
    checks.compiles(subject.build(D), _read)
