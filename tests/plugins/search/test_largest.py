"""The selection of the largest values by blocks equals the selection from all columns."""

import pytest
import torch

from seqx_search.beam import BLOCK, MANY_COLUMNS, largest


@pytest.mark.parametrize("columns", [MANY_COLUMNS - 1, MANY_COLUMNS, MANY_COLUMNS + BLOCK - 1])
@pytest.mark.parametrize("count", [1, 7, MANY_COLUMNS // BLOCK // 2, MANY_COLUMNS // BLOCK])
def test_largest_values_of_many_columns_are_those_of_topk(columns: int, count: int) -> None:
    x = torch.rand(5, columns, generator=torch.Generator().manual_seed(1))
    x[0] = -torch.inf
    x[0, 3] = 1
    x[1, -count:] = 2 + torch.arange(count)  # in the columns that fill no block
    x[2, 64:] = -torch.inf
    value, index = largest(x, count)
    assert torch.equal(value, x.topk(count).values)
    assert torch.equal(x.gather(1, index), value)


def test_largest_values_of_a_row_with_nan_begin_with_nan() -> None:
    x = torch.rand(2, MANY_COLUMNS)
    x[1, 70] = torch.nan
    assert largest(x, 7)[0][:, 0].isnan().tolist() == [False, True]
