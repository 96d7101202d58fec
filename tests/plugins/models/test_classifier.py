"""The classifier."""

from functools import partial
from typing import Any

import pytest
import torch

import seqx
from seqx_models import Classifier
from seqx_search import Beam
from seqx_transformer import MultiHeadAttention, TransformerEncoder

ENCODER = partial(TransformerEncoder, layers=1, attention=partial(MultiHeadAttention, heads=2), dropout=0.0)
SIZES = {"source": 11, "target": 7}
SOURCE = seqx.Column.of(torch.tensor([[5, 6, 2], [7, 2, 0]]), torch.tensor([3, 2]))


def build(**settings: Any) -> Classifier:
    torch.manual_seed(0)
    return Classifier(SIZES, d_model=16, encoder=ENCODER, **settings).eval()


@torch.no_grad()
@pytest.mark.parametrize("pooling", ["mean", "max", "first"])
def test_classifier_label_probability_comes_from_the_pooled_states(pooling: Any) -> None:
    model = build(pooling=pooling)
    memory = model.encode(SOURCE)
    for row, length in enumerate((3, 2)):
        states = memory.states[row, :length]
        pooled = {"mean": states.mean(0), "max": states.amax(0), "first": states[0]}[pooling]
        expected = torch.nn.functional.linear(pooled, model.projection.weight, model.projection.bias)
        outputs, _ = model.advance(torch.tensor([[1], [1]]), model.start(memory, 2), None)
        torch.testing.assert_close(model.head(outputs)[row, 0], expected)


@torch.no_grad()
def test_classifier_output_after_the_label_is_constant() -> None:
    model = build()
    target = seqx.Column.of(torch.tensor([[4, 2], [6, 2]]), torch.tensor([2, 2]))
    eos_logprobs = model.score(SOURCE, target)[:, 1]
    assert eos_logprobs[0] == eos_logprobs[1]


def test_classifier_learns_labels_and_ranks_them() -> None:
    """The label is the first word. After it, EOS has a log-probability near 0."""
    model = build().train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    generator = torch.Generator().manual_seed(0)
    for _ in range(150):
        words = torch.randint(4, 7, (32, 3), generator=generator)
        source = seqx.Column.of(words, torch.full((32,), 3))
        ids = torch.stack([words[:, 0], torch.full((32,), seqx.EOS)], 1)
        loss = -model.score(source, seqx.Column.of(ids, torch.full((32,), 2))).sum(1).mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    model.eval()
    source = seqx.Column.of(torch.tensor([[4, 5, 6], [6, 5, 4]]), torch.tensor([3, 3]))
    found = Beam(size=3, alpha=0.0, nbest=3, ratio=0.0, extra=1)(model, source, torch.tensor([1, 1]))
    for (best, *others), label in zip(found, (4, 6), strict=True):
        assert best.ids == [label]
        assert best.logprob > -0.2
        assert all(best.logprob > other.logprob for other in others)
