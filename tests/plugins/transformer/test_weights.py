"""Casting and concatenating weights gives the bits of `to` and `torch.cat`, for values and gradients."""

import torch
from torch import Tensor

from seqx_transformer.weights import join


def joined_separately(groups: list[list[Tensor]]) -> list[Tensor]:
    return [torch.cat([weight.to(torch.bfloat16) for weight in group]) for group in groups]


def test_joined_weights_and_their_gradients_equal_separate_casts() -> None:
    groups = [[torch.randn(n, 3, requires_grad=True) for n in (2, 4)], [torch.randn(5, requires_grad=True)]]
    results = []
    for joined in (join(groups, torch.bfloat16), joined_separately(groups)):
        (joined[0] ** 2).sum().backward()  # type: ignore[no-untyped-call]
        results.append((joined, [weight.grad for weight in groups[0]]))
        for weight in groups[0]:
            weight.grad = None
    (actual, gradients), (expected, expected_gradients) = results
    assert all(torch.equal(one, other) for one, other in zip(actual, expected, strict=True))
    assert all(one is not None and one.dtype == torch.float32 for one in gradients)
    torch.testing.assert_close(gradients, expected_gradients, rtol=0, atol=0)
    assert groups[1][0].grad is None  # it was not used
