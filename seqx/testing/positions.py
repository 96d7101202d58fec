"""The laws of positional encodings.

Letters in shapes: B sentences, T queries, S keys, D = d_model, H heads, K the width of a head.
"""

import torch
from torch import Tensor

from seqx.interfaces.networks import PositionalEncoding
from seqx.testing import checks
from seqx.testing.law import Subject, law
from seqx.testing.samples import B, D, T, vectors

H, K = 2, 8
X, Q, KEYS = vectors(B, T, D), vectors(B, H, T, K, seed=1), vectors(B, H, T, K, seed=2)
WEIGHTS = vectors(B, H, T, T, seed=3).softmax(-1)
PLACES = torch.arange(T).expand(B, T)


def _everything(encoding: PositionalEncoding) -> Tensor:
    """Whatever the encoding changes, in one tensor."""
    parts = [encoding.embed(X, PLACES), encoding.query(Q, PLACES), encoding.key(KEYS, PLACES)]
    bias, values = encoding.bias(Q, KEYS, PLACES, PLACES), encoding.values(WEIGHTS, PLACES, PLACES)
    return torch.cat([part.flatten() for part in (*parts, bias, values) if part is not None])


@law(PositionalEncoding)
def any_stretch_is_encoded_like_the_whole(subject: Subject) -> None:
    """A token at a position gets the same wherever it stands in its tensor."""
    encoding, late = subject.build(D, H), PLACES[:, 3:]
    checks.same(encoding.embed(X[:, 3:], late), encoding.embed(X, PLACES)[:, 3:])
    checks.same(encoding.query(Q[:, :, 3:], late), encoding.query(Q, PLACES)[:, :, 3:])
    checks.same(encoding.key(KEYS[:, :, 3:], late), encoding.key(KEYS, PLACES)[:, :, 3:])
    whole, part = encoding.bias(Q, KEYS, PLACES, PLACES), encoding.bias(Q[:, :, 3:], KEYS, late, PLACES)
    if whole is not None:
        assert part is not None
        checks.same(part, whole[:, :, 3:])
    whole, part = encoding.values(WEIGHTS, PLACES, PLACES), encoding.values(WEIGHTS[:, :, 3:], late, PLACES)
    if whole is not None:
        assert part is not None
        checks.same(part, whole[:, :, 3:])


@law(PositionalEncoding)
def sentences_of_a_batch_may_stand_anywhere(subject: Subject) -> None:
    """Each row is encoded by its own positions."""
    encoding = subject.build(D, H)
    shift = torch.arange(B)[:, None]
    together = encoding.embed(X, PLACES + shift)
    apart = [encoding.embed(X[i : i + 1], PLACES[i : i + 1] + i) for i in range(B)]
    checks.same(together, torch.cat(apart))


@law(PositionalEncoding)
def every_parameter_gets_a_gradient(subject: Subject) -> None:
    """Nothing is kept that cannot learn."""
    encoding = subject.build(D, H)
    if any(p.requires_grad for p in encoding.parameters()):
        checks.parameters_learn(encoding, _everything)


@law(PositionalEncoding)
def state_dict_round_trip(subject: Subject) -> None:
    """The state dict is all there is to it."""
    checks.state_dict_holds_all(subject, _everything, D, H)


@law(PositionalEncoding)
def bfloat16_agrees(subject: Subject) -> None:
    """Autocast changes little."""
    checks.bfloat16_agrees(subject.build(D, H), _everything)


@law(PositionalEncoding)
def compiles(subject: Subject) -> None:
    """In one graph."""
    checks.compiles(subject.build(D, H), _everything)
