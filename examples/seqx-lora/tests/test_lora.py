"""Comparison with adapters inside of a network."""

import pytest
import seqx
import torch
from torch import nn

from seqx_lora import LoRA

RATE, RANK, ALPHA = 0.01, 2, 6.0


def test_updates_are_those_of_adapters() -> None:
    torch.manual_seed(0)
    model = nn.ModuleDict({"query": nn.Linear(5, 4), "key": nn.Linear(5, 4)})
    first = {name: value.clone() for name, value in model.state_dict().items()}
    inputs, targets = torch.randn(8, 5), torch.randn(8, 4)
    optimizer = LoRA(targets=("query.weight",), rank=RANK, alpha=ALPHA).build(model)
    optimizer.param_groups[0]["lr"] = RATE
    down = torch.randn(RANK, 5, generator=torch.Generator().manual_seed(0)) * 5**-0.5
    up, down = nn.Parameter(torch.zeros(4, RANK)), nn.Parameter(down)
    adapters = torch.optim.Adam([up, down], lr=RATE, betas=(0.9, 0.98), eps=1e-9)
    for _ in range(30):
        optimizer.zero_grad()
        (model["query"](inputs) - targets).square().mean().backward()
        optimizer.step()
        adapters.zero_grad()
        weight = first["query.weight"] + ALPHA / RANK * up @ down
        outputs = inputs @ weight.T + first["query.bias"]
        (outputs - targets).square().mean().backward()
        adapters.step()
    change = model["query"].weight.detach() - first["query.weight"]
    torch.testing.assert_close(change, (ALPHA / RANK * up @ down).detach(), atol=1e-5, rtol=1e-4)
    assert int(torch.linalg.matrix_rank(change, atol=1e-5)) == RANK
    for name, value in model.state_dict().items():
        assert torch.equal(value, first[name]) == (name != "query.weight")


def test_target_that_matches_nothing_is_an_error() -> None:
    with pytest.raises(seqx.UserError, match="no parameter of the model matches other"):
        LoRA(targets=("other",)).check(nn.Linear(2, 2))
