"""The laws that all networks have in common."""

import unittest
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, update_wrapper
from typing import Any

import torch
from torch import Tensor, nn

from seqx.errors import UserError
from seqx.runtime.devices import autocast
from seqx.runtime.precision import has_bf16
from seqx.testing.checks import assert_close, assert_unchanged
from seqx.testing.host_tensors import HostTensors
from seqx.testing.law import Subject, law

PACKED = (
    "reads_packed_rows is true, but the outputs of sentences in one row differ from those in separate rows. "
    "Use `layout.segments`, as `Mask.dense` does, and `layout.positions`; otherwise set it to false"
)
"""The message of the laws of packed rows."""


@dataclass(frozen=True)
class Sample:
    """A call of a network.

    Args:
        run: function that calls a network and returns its outputs without padding
        arguments: provided parameters of the constructor
        tensors: the tensors that `run` passes to the network
    """

    run: Callable[[Any], Tensor]
    arguments: Sequence[Any]
    tensors: Sequence[Tensor]

    def network(self, subject: Subject, seed: int = 0) -> nn.Module:
        """Build the network of a subject."""
        network: nn.Module = subject.build(*self.arguments, seed=seed)
        return network


def add_network_laws(interface: type, sample: Sample) -> None:
    """Add the laws of this module to those of an interface."""
    for check in _LAWS:
        law(interface)(update_wrapper(partial(check, sample), check))


def arguments_are_not_changed(sample: Sample, subject: Subject) -> None:
    """The tensors that are passed to a network keep their values."""
    network = sample.network(subject)
    assert_unchanged(lambda: sample.run(network), sample.tensors, type(network).__name__)


@torch.no_grad()
def outputs_are_reproducible(sample: Sample, subject: Subject) -> None:
    """In evaluation mode, two calls with the same inputs give exactly the same outputs."""
    network = sample.network(subject)
    assert sample.run(network).equal(sample.run(network)), (
        f"{type(network).__name__}: in evaluation mode, a second call with the same inputs has other "
        "outputs. Typical mistakes: dropout without `self.training` (use `nn.Dropout`, or `F.dropout(x, p, "
        "self.training)`), or an attribute that the first call changes"
    )


def seed_determines_weights(sample: Sample, subject: Subject) -> None:
    """Two networks that are built with the same seed have the same weights."""
    first, second = (sample.network(subject).state_dict() for _ in range(2))
    different = [name for name in first if not first[name].equal(second[name])]
    assert not different, (
        f"with the same seed, these weights differ: {', '.join(different)}; initialise them with torch's "
        "random numbers, not with those of numpy or `random`"
    )


def every_parameter_gets_a_gradient(sample: Sample, subject: Subject) -> None:
    """Each trained parameter gets a gradient that is not all zeros."""
    network = sample.network(subject)
    trained = {name: p for name, p in network.named_parameters() if p.requires_grad}
    outputs = sample.run(network)
    if outputs.requires_grad:
        # The sum of a normalised vector is constant and has no gradient, so outputs get random weights.
        (outputs * torch.randn_like(outputs)).sum().backward()  # type: ignore[no-untyped-call]
    names = [name for name, p in trained.items() if p.grad is None or not p.grad.count_nonzero()]
    assert not names, (
        f"parameters without a gradient: {', '.join(names)}; use them in `forward`, or do not create them. "
        "Typical mistakes: `detach`, `.data` or `torch.no_grad` between the parameter and the output"
    )


def state_dict_round_trip(sample: Sample, subject: Subject) -> None:
    """The state dict determines the outputs."""
    first, second = sample.network(subject), sample.network(subject, seed=1)
    second.load_state_dict(first.state_dict())
    assert_close(
        sample.run(second),
        sample.run(first),
        f"{type(first).__name__}: a network that loads the state dict of another gives other outputs, so a "
        "saved model answers differently; make random tensors parameters or buffers",
    )


def tensors_are_on_the_device_of_the_inputs(sample: Sample, subject: Subject) -> None:
    """A network combines no tensor that is always on the CPU with its inputs, so that it works on a GPU."""
    with HostTensors() as tensors:
        network = sample.network(subject)
        tensors.start(network)
        sample.run(network)
    assert not tensors.problems, (
        f"{tensors.problems[0]}, so the network fails on a GPU. Pass `device=x.device` or use `x.new_zeros`; "
        "make tensors that the constructor creates parameters or buffers"
    )


@torch.no_grad()
def bfloat16_agrees(sample: Sample, subject: Subject) -> None:
    """Outputs under bfloat16 autocast differ by at most a tenth (of their norm) from float32.

    The test is skipped if the CPU has no bfloat16 units, and torch has no kernel for it.
    """
    network, cpu = sample.network(subject), torch.device("cpu")
    expected = sample.run(network)
    try:
        with autocast(cpu, "bf16"):
            actual = sample.run(network).float()
    except UserError as error:
        if has_bf16(cpu):
            raise
        raise unittest.SkipTest(str(error)) from None
    difference = (actual - expected).norm() / expected.norm()
    assert difference < 0.1, (
        f"outputs in bfloat16 differ by {difference:.2f} of their norm, at most 0.1 is allowed; compute sums "
        "over many terms, exponentials and norms in float32"
    )


@torch.no_grad()
def compiles(sample: Sample, subject: Subject) -> None:
    """The component compiles to one graph without breaks, which gives the same outputs."""
    network = sample.network(subject)
    torch.compiler.reset()
    try:
        # Tracing finds graph breaks. Another backend would also translate the graph, and take twice as long.
        compiled = torch.compile(sample.run, backend="eager", fullgraph=True)
        assert_close(
            compiled(network),
            sample.run(network),
            f"{type(network).__name__}: the compiled network gives other outputs",
        )
    finally:
        torch.compiler.reset()


_LAWS = (
    *(arguments_are_not_changed, outputs_are_reproducible, seed_determines_weights),
    *(every_parameter_gets_a_gradient, state_dict_round_trip, tensors_are_on_the_device_of_the_inputs),
    *(bfloat16_agrees, compiles),
)
