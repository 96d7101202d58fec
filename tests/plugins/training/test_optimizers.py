"""Updates, parameter groups and constants of the optimizers."""

import copy

import pytest
import torch
from torch import nn

import seqx
from seqx_training import Adafactor, Adam, AdamW


def module() -> nn.Module:
    """Build a linear map and a norm with fixed weights."""
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3))


def train(optimizer: torch.optim.Optimizer, model: nn.Module, updates: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    for group in optimizer.param_groups:
        group["lr"] = 0.01
    for _ in range(updates):
        optimizer.zero_grad()
        model(torch.randn(5, 4, generator=generator)).square().sum().backward()
        optimizer.step()
    return [parameter.detach() for parameter in model.parameters()]


def reference_updates(
    model: nn.Module, updates: int, betas: tuple[float, float], eps: float, decay: float
) -> list[torch.Tensor]:
    """Compute algorithm 1 of Kingma and Ba 2015, in double precision, with AdamW's decay of matrices."""
    model = model.double()
    generator = torch.Generator().manual_seed(0)
    parameters = list(model.parameters())
    first = [torch.zeros_like(p) for p in parameters]
    second = [torch.zeros_like(p) for p in parameters]
    for t in range(1, updates + 1):
        inputs = torch.randn(5, 4, generator=generator).double()
        gradients = torch.autograd.grad(model(inputs).square().sum(), parameters)
        with torch.no_grad():
            for p, g, m, v in zip(parameters, gradients, first, second, strict=True):
                p.mul_(1 - 0.01 * decay * (p.dim() > 1))
                m.mul_(betas[0]).add_((1 - betas[0]) * g)
                v.mul_(betas[1]).add_((1 - betas[1]) * g * g)
                p.sub_(0.01 * (m / (1 - betas[0] ** t)) / ((v / (1 - betas[1] ** t)).sqrt() + eps))
    return [parameter.detach().float() for parameter in parameters]


@pytest.mark.parametrize("decay", [None, 0.5])
def test_adam_updates_follow_the_paper(decay: float | None) -> None:
    optimizer: seqx.Optimizer = Adam(eps=1e-6) if decay is None else AdamW(eps=1e-6, decay=decay)
    model = module()
    actual = train(optimizer.build(model), model, 5)
    expected = reference_updates(module(), 5, (0.9, 0.98), 1e-6, decay or 0.0)
    for p, q in zip(actual, expected, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-5)


def test_weight_decay_excludes_vectors() -> None:
    model = module()
    groups = AdamW(decay=0.3).build(model).param_groups
    assert [(group["weight_decay"], len(group["params"])) for group in groups] == [(0.3, 1), (0.0, 3)]


@pytest.mark.parametrize("model", [nn.Linear(2, 2, bias=False), nn.LayerNorm(2, bias=False)])
def test_optimizer_has_no_empty_parameter_groups(model: nn.Module) -> None:
    assert [len(group["params"]) for group in AdamW().build(model).param_groups] == [1]


@pytest.mark.parametrize("optimizer", [Adam, AdamW])
def test_adam_is_fused_and_has_the_papers_constants(optimizer: type[seqx.Optimizer]) -> None:
    built = optimizer().build(module())
    for group in built.param_groups:
        assert group["fused"]
        assert group["betas"] == (0.9, 0.98)
        assert group["eps"] == 1e-9


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_adafactor_equals_torchs_and_resumes_from_its_state(decay: float) -> None:
    model, expected = module(), module()
    built = Adafactor(decay=decay).build(model)
    matrices, vectors = (
        [p for p in expected.parameters() if (p.dim() > 1) == is_matrix] for is_matrix in (True, False)
    )
    original = torch.optim.Adafactor(
        [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]
    )
    for _ in range(2):
        for p, q in zip(train(built, model, 4), train(original, expected, 4), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-7)
        built.load_state_dict(copy.deepcopy(original.state_dict()))
    assert {float(state["step"]) for state in built.state.values()} == {8.0}
