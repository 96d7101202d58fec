"""Cross-entropy in chunks against torch's cross-entropy, and the size of its chunks."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import seqx
from seqx_training import CrossEntropy
from tests.plugins.training.toy import Toy, batch

SENTENCES = batch([5, 1, 9, 3])


def reference(model: seqx.Generator, sentences: seqx.Batch, smoothing: float) -> tuple[Tensor, Tensor]:
    """Return the sums of the loss and of the negative log-likelihood, from all logits at once."""
    target = sentences.columns["target"]
    logits = model.head(model(sentences)).flatten(0, 1)
    ids = target.values.flatten()
    loss = F.cross_entropy(logits, ids, ignore_index=seqx.PAD, label_smoothing=smoothing, reduction="sum")
    return loss, F.cross_entropy(logits, ids, ignore_index=seqx.PAD, reduction="sum")


def gradients(model: nn.Module) -> dict[str, Tensor]:
    """Return the gradients by name, and clear them."""
    actual = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    return actual


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.6])
@pytest.mark.parametrize("chunk", [1, 7, 1000])
@pytest.mark.parametrize("frozen", [(), ("embedding.weight",), ("hidden.weight", "hidden.bias"), ("bias",)])
def test_cross_entropy_and_its_gradient_equal_torchs(
    smoothing: float, chunk: int, frozen: tuple[str, ...]
) -> None:
    model = Toy()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in frozen)
    loss, nll = reference(model, SENTENCES, smoothing)
    torch.autograd.backward(loss / 3)
    expected = gradients(model)
    sums = CrossEntropy(smoothing=smoothing, chunk=chunk)(model, SENTENCES)
    torch.autograd.backward(sums["loss"] / 3)
    actual = gradients(model)
    torch.testing.assert_close(sums["loss"], loss, rtol=1e-6, atol=0)
    torch.testing.assert_close(sums["nll"], nll, rtol=1e-6, atol=0)
    assert actual.keys() == expected.keys()
    assert actual.keys() == dict(model.named_parameters()).keys() - {*frozen}
    for name, gradient in expected.items():
        scale = float(gradient.abs().max())
        torch.testing.assert_close(actual[name], gradient, rtol=1e-6, atol=1e-6 * scale, msg=name)


def test_cross_entropy_trains_only_the_head() -> None:
    model = Toy()
    assert model.bias is not None
    model.requires_grad_(False)
    model.bias.requires_grad_()
    torch.autograd.backward(reference(model, SENTENCES, 0.1)[0])
    expected = gradients(model)
    torch.autograd.backward(CrossEntropy(chunk=2)(model, SENTENCES)["loss"])
    torch.testing.assert_close(gradients(model), expected, rtol=1e-5, atol=1e-6)


class TwoBiases(Toy):
    """A model with two biases, for which autograd returns the same gradient tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Parameter(torch.randn(13))

    def head(self, outputs: Tensor) -> Tensor:
        assert self.bias is not None
        return F.linear(outputs, self.embedding.weight) + (self.bias + self.other)


def test_cross_entropy_adds_gradients_that_share_memory_once() -> None:
    model = TwoBiases()
    torch.autograd.backward(reference(model, SENTENCES, 0.1)[0])
    expected = gradients(model)
    torch.autograd.backward(CrossEntropy(chunk=4)(model, SENTENCES)["loss"] / 2)
    actual = gradients(model)
    for name, gradient in expected.items():
        torch.testing.assert_close(2 * actual[name], gradient, rtol=1e-5, atol=1e-5, msg=name)


@pytest.mark.isa
def test_cross_entropy_in_chunks_under_bf16_autocast() -> None:
    model = Toy(symbols=200, width=32)
    sentences = batch([40, 50, 10], symbols=200)
    loss, _ = reference(model, sentences, 0.1)
    torch.autograd.backward(loss)
    expected = gradients(model)
    for _ in range(2):  # the second update must not use cached casts of the first
        with torch.autocast("cpu", torch.bfloat16):
            sums = CrossEntropy(chunk=16)(model, sentences)
        assert sums["loss"].dtype == torch.float32
        torch.autograd.backward(sums["loss"])
        actual = gradients(model)
        torch.testing.assert_close(sums["loss"], loss, rtol=5e-3, atol=0)
        for name, gradient in expected.items():
            assert actual[name].dtype == torch.float32
            assert F.cosine_similarity(actual[name].flatten(), gradient.flatten(), 0) > 0.999, name


def test_smoothed_loss_has_the_entropy_as_minimum() -> None:
    """The minimum of a smoothed loss is the entropy of the smoothed target."""
    smoothing, symbols = 0.1, 13
    correct = 1 - smoothing + smoothing / symbols
    other = smoothing / symbols
    floor = -correct * math.log(correct) - (symbols - 1) * other * math.log(other)

    class Ideal(Toy):
        def head(self, outputs: Tensor) -> Tensor:
            logits = torch.full((len(outputs), symbols), math.log(other))
            targets = SENTENCES.columns["target"]
            ids = targets.values[targets.layout.keep]
            return logits.scatter(1, ids[:, None], math.log(correct)) + 0 * outputs.sum()

    def mean(model: seqx.Generator) -> float:
        with torch.no_grad():
            return float(CrossEntropy(smoothing=smoothing)(model, SENTENCES)["loss"]) / SENTENCES.count

    assert mean(Ideal()) == pytest.approx(floor, rel=1e-6)
    for seed in range(5):
        torch.manual_seed(seed)
        assert mean(Toy()) > floor


def test_cross_entropy_computes_at_most_one_chunk_of_logits() -> None:
    model = Toy()
    torch.autograd.backward(CrossEntropy(chunk=4)(model, SENTENCES)["loss"])
    assert max(model.rows) == 4
    assert sum(model.rows) == SENTENCES.count


def test_cross_entropy_computes_no_gradient_without_grad_mode() -> None:
    model = Toy()
    expected_sums = CrossEntropy(chunk=4)(model, SENTENCES)
    with torch.no_grad():
        sums = CrossEntropy(chunk=4)(model, SENTENCES)
    assert not sums["loss"].requires_grad
    assert sums["loss"] == expected_sums["loss"].detach()
    assert not expected_sums["nll"].requires_grad


def test_cross_entropy_counts_target_tokens() -> None:
    assert CrossEntropy().counts(SENTENCES) == {"loss": 18, "nll": 18}
