"""Compare the component with its formula."""

import math

import pytest
import torch

from seqx_newcomer import Newcomer


@pytest.mark.parametrize(("query", "key"), [(3, 1), (1, 3), (90, 20)])
def test_bias_is_a_function_of_the_relative_distance(query: int, key: int) -> None:
    torch.manual_seed(0)
    encoding = Newcomer(8, 2)
    vectors = torch.zeros(1, 2, 1, 4)
    bias = encoding.bias(vectors, vectors, torch.tensor([[query]]), torch.tensor([[key]]))
    relative = math.log(0.1 * abs(query - key) + 1) / math.log(0.1 * max(query, 64) + 1)
    torch.testing.assert_close(bias[0, :, 0, 0], encoding.network(torch.tensor([relative])))


def test_bias_is_equal_for_equal_relative_distances() -> None:
    encoding = Newcomer(8, 2)
    vectors = torch.zeros(1, 2, 1, 4)
    near, far = (
        encoding.bias(vectors, vectors, torch.tensor([[end]]), torch.tensor([[0]])) for end in (100, 10_000)
    )
    torch.testing.assert_close(near, far)
