"""Comparisons that many laws share. Each message begins with what is wrong and what to look at."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


def set_seed(seed: int) -> None:
    """Set the seed of torch's random numbers.

    Without an accelerator, `torch.manual_seed` formats several stack traces in each call, in case one is
    initialised later. This takes longer than building a small network.
    """
    if torch.accelerator.is_available():
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


def assert_close(actual: Tensor, expected: Tensor, problem: str) -> None:
    """Assert that two tensors are equal up to rounding errors; the message begins with `problem`."""
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5, msg=lambda text: f"{problem}\n{text}")


def assert_sentences_are_independent(
    module: nn.Module, run: Callable[[Tensor], Tensor], inputs: Tensor, where: str
) -> None:
    """Assert that the outputs of a sentence in training mode do not depend on the other sentences.

    Args:
        module: module that `run` calls
        run: function from the inputs [B, ...] of all sentences to outputs [B, ...]
        inputs: inputs of at least two sentences
        where: the method to look at, for the message
    """
    others = inputs.flip(-1)
    others[0] = inputs[0]
    module.train()
    outputs = []
    for x in (inputs, others):
        set_seed(0)  # the same dropout
        outputs.append(run(x)[0])
    module.eval()
    assert_close(
        outputs[1],
        outputs[0],
        f"{where}: in training mode, the outputs of a sentence depend on the other sentences of the batch, "
        "so the loss depends on the division into microbatches. Normalise within a sentence or a token "
        "(layer norm, not batch norm), and reduce over the dimensions of time or features only",
    )


def assert_unchanged(run: Callable[[], object], tensors: Sequence[Tensor], where: str) -> None:
    """Assert that a call does not change the tensors that it is passed; restore their values."""
    copies = [tensor.clone() for tensor in tensors]
    with torch.no_grad():
        run()
        changed = [tensor for tensor, copy in zip(tensors, copies, strict=True) if not tensor.equal(copy)]
        for tensor, copy in zip(tensors, copies, strict=True):
            tensor.copy_(copy)
    assert not changed, (
        f"{where} changes a tensor of shape {list(changed[0].shape)} that it is passed, and which its caller "
        "uses again; replace operations in place, such as `x += y` or `x.mul_(y)`, by new tensors"
    )
