"""Laws of positional encodings.

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
POSITIONS = torch.arange(T).expand(B, T)


def _all_outputs(encoding: PositionalEncoding) -> Tensor:
    """Return all outputs of the encoding in one tensor [N]."""
    parts = [encoding.embed(X, POSITIONS), encoding.query(Q, POSITIONS), encoding.key(KEYS, POSITIONS)]
    bias, values = (
        encoding.bias(Q, KEYS, POSITIONS, POSITIONS),
        encoding.values(WEIGHTS, POSITIONS, POSITIONS),
    )
    return torch.cat([part.flatten() for part in (*parts, bias, values) if part is not None])


@law(PositionalEncoding)
def encoding_depends_on_positions_only(subject: Subject) -> None:
    """Later tokens are encoded alike with and without the earlier tokens in the tensor."""
    encoding, later = subject.build(D, H), POSITIONS[:, 3:]
    checks.assert_close(encoding.embed(X[:, 3:], later), encoding.embed(X, POSITIONS)[:, 3:])
    checks.assert_close(encoding.query(Q[:, :, 3:], later), encoding.query(Q, POSITIONS)[:, :, 3:])
    checks.assert_close(encoding.key(KEYS[:, :, 3:], later), encoding.key(KEYS, POSITIONS)[:, :, 3:])
    expected, actual = (
        encoding.bias(Q, KEYS, POSITIONS, POSITIONS),
        encoding.bias(Q[:, :, 3:], KEYS, later, POSITIONS),
    )
    if expected is not None:
        assert actual is not None, "`bias` returns None only without the earlier queries"
        checks.assert_close(actual, expected[:, :, 3:])
    expected, actual = (
        encoding.values(WEIGHTS, POSITIONS, POSITIONS),
        encoding.values(WEIGHTS[:, :, 3:], later, POSITIONS),
    )
    if expected is not None:
        assert actual is not None, "`values` returns None only without the earlier queries"
        checks.assert_close(actual, expected[:, :, 3:])


@law(PositionalEncoding)
def each_sentence_has_its_own_positions(subject: Subject) -> None:
    """Sentences of a batch may start at different positions."""
    encoding = subject.build(D, H)
    shift = torch.arange(B)[:, None]
    batch = encoding.embed(X, POSITIONS + shift)
    single = [encoding.embed(X[i : i + 1], POSITIONS[i : i + 1] + i) for i in range(B)]
    checks.assert_close(batch, torch.cat(single))


@law(PositionalEncoding)
def every_parameter_gets_a_gradient(subject: Subject) -> None:
    """Each trained parameter gets a gradient that is not all zeros."""
    encoding = subject.build(D, H)
    if any(p.requires_grad for p in encoding.parameters()):
        checks.check_gradients(encoding, _all_outputs)


@law(PositionalEncoding)
def state_dict_round_trip(subject: Subject) -> None:
    """The state dict determines the outputs."""
    checks.check_state_dict(subject, _all_outputs, D, H)


@law(PositionalEncoding)
def bfloat16_agrees(subject: Subject) -> None:
    """Outputs under bfloat16 autocast are close to those in float32."""
    checks.check_bfloat16(subject.build(D, H), _all_outputs)


@law(PositionalEncoding)
def compiles(subject: Subject) -> None:
    """The component compiles to one graph and gives the same outputs."""
    checks.check_compilation(subject.build(D, H), _all_outputs)
