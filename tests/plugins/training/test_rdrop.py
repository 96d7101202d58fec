"""R-Drop in chunks against the paper's equations computed from all logits at once."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import seqx
from seqx_training import CrossEntropy, RDrop
from tests.plugins.training.test_crossentropy import gradients
from tests.plugins.training.toy import Toy, batch

SENTENCES = batch([5, 1, 9, 3])


class ToyWithDropout(Toy):
    """A Toy with dropout, in double precision."""

    def __init__(self) -> None:
        torch.manual_seed(4)
        super().__init__()
        self.double()

    def advance(self, ids: Tensor, state: Any, keep: Tensor | None) -> tuple[Tensor, Any]:
        outputs, state = super().advance(ids, state, keep)
        return F.dropout(outputs, 0.4, self.training), state


def reference(model: seqx.Generator, alpha: float, smoothing: float) -> dict[str, Tensor]:
    """Compute equations 2 to 4 (the last one halved) of Liang et al. 2021 from the logits of both passes."""
    target = SENTENCES.columns["target"]
    keep, source = target.layout.keep, SENTENCES.columns["source"]
    first, second = (model.head(model(seqx.Batch.of(source=source, target=target)))[keep] for _ in range(2))
    ids, both = target.values[keep].repeat(2), torch.cat([first, second])
    smoothed = F.cross_entropy(both, ids, label_smoothing=smoothing, reduction="sum")
    p, q = first.log_softmax(-1), second.log_softmax(-1)
    divergences = [F.kl_div(one, other, log_target=True, reduction="sum") for one, other in ((q, p), (p, q))]
    kl = torch.stack(divergences).mean()
    nll = F.cross_entropy(both, ids, reduction="sum")
    return {"loss": (smoothed + alpha * kl) / 2, "nll": nll / 2, "kl": kl}


@pytest.mark.parametrize("alpha", [0.0, 0.7, 5.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("chunk", [1, 7, 1000])
@pytest.mark.parametrize("frozen", [(), ("embedding.weight",), ("hidden.weight", "hidden.bias")])
def test_r_drop_and_its_gradient_follow_the_paper(
    alpha: float, smoothing: float, chunk: int, frozen: tuple[str, ...]
) -> None:
    model = ToyWithDropout()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in frozen)
    torch.manual_seed(0)
    expected_sums = reference(model, alpha, smoothing)
    torch.autograd.backward(expected_sums["loss"] / 3)
    expected = gradients(model)
    torch.manual_seed(0)
    sums = RDrop(alpha=alpha, smoothing=smoothing, chunk=chunk)(model, SENTENCES)
    torch.autograd.backward(sums["loss"] / 3)
    actual = gradients(model)
    assert list(sums) == ["loss", "nll", "kl"]
    assert float(sums["kl"]) > 0
    for name, value in expected_sums.items():
        torch.testing.assert_close(sums[name].detach(), value.detach(), rtol=1e-12, atol=0, msg=name)
    assert actual.keys() == expected.keys() == dict(model.named_parameters()).keys() - {*frozen}
    for name, gradient in expected.items():
        torch.testing.assert_close(actual[name], gradient, rtol=1e-9, atol=1e-12, msg=name)


def test_r_drop_without_dropout_equals_cross_entropy() -> None:
    model = Toy()
    plain = CrossEntropy()(model, SENTENCES)
    torch.autograd.backward(plain["loss"])
    expected = gradients(model)
    sums = RDrop(alpha=5.0)(model, SENTENCES)
    torch.autograd.backward(sums["loss"])
    assert float(sums["kl"]) == 0
    torch.testing.assert_close(sums["loss"], plain["loss"])
    torch.testing.assert_close(sums["nll"], plain["nll"])
    torch.testing.assert_close(gradients(model), expected)


def test_r_drop_divergence_makes_both_passes_agree() -> None:
    """With a large alpha the divergence dominates the loss."""
    model, objective = ToyWithDropout(), RDrop(alpha=1000.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    torch.manual_seed(0)
    divergences = []
    for _ in range(60):
        optimizer.zero_grad()
        sums = objective(model, SENTENCES)
        torch.autograd.backward(sums["loss"])
        optimizer.step()
        divergences.append(float(sums["kl"]))
    assert sum(divergences[-10:]) < sum(divergences[:10]) / 2


def test_r_drop_computes_at_most_one_chunk_of_logits() -> None:
    model = Toy()
    torch.autograd.backward(RDrop(chunk=8)(model, SENTENCES)["loss"])
    assert max(model.rows) == 8
    assert sum(model.rows) == 2 * SENTENCES.count


@pytest.mark.isa
def test_r_drop_under_bf16_autocast() -> None:
    model = Toy(symbols=200, width=32)
    sentences = batch([40, 50, 10], symbols=200)
    expected_sums = RDrop()(model, sentences)
    torch.autograd.backward(expected_sums["loss"])
    expected = gradients(model)
    with torch.autocast("cpu", torch.bfloat16):
        sums = RDrop(chunk=16)(model, sentences)
    assert sums["loss"].dtype == torch.float32
    torch.autograd.backward(sums["loss"])
    for name, gradient in gradients(model).items():
        assert F.cosine_similarity(gradient.flatten(), expected[name].flatten(), 0) > 0.999, name


def test_r_drop_counts_target_tokens() -> None:
    assert RDrop().counts(SENTENCES) == {"loss": 18, "nll": 18, "kl": 18}
    assert RDrop().trained_on == ("loss",)


def test_r_drop_computes_no_gradient_without_grad_mode() -> None:
    with torch.no_grad():
        assert not RDrop()(Toy(), SENTENCES)["loss"].requires_grad
