"""The classifier."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import seqx
from seqx.storage.weights import read_weights
from seqx_models import Classifier
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
    states = model.encoder(model.embedding(SOURCE.values), SOURCE.layout)
    target = seqx.Column.of(torch.tensor([[4], [6]]), torch.tensor([1, 1]))
    logits = model.head(model(seqx.Batch.of(source=SOURCE, target=target)))
    assert logits.shape == (2, 1, 7)
    for row, length in enumerate((3, 2)):
        kept = states[row, :length]
        pooled = {"mean": kept.mean(0), "max": kept.amax(0), "first": kept[0]}[pooling]
        expected = torch.nn.functional.linear(pooled, model.projection.weight, model.projection.bias)
        torch.testing.assert_close(logits[row, 0], expected)


def test_classifier_loads_weights_with_the_output_that_earlier_versions_had(tmp_path: Path) -> None:
    model, file = build(), tmp_path / "model.safetensors"
    save_file({**model.state_dict(), "after": torch.ones(16)}, file)
    other = Classifier(SIZES, d_model=16, encoder=ENCODER)
    read_weights(other, file)
    assert all(tensor.equal(other.state_dict()[name]) for name, tensor in model.state_dict().items())
    save_file({**model.state_dict(), "before": torch.ones(16)}, file)
    with pytest.raises(seqx.UserError, match="before is not a tensor of the model"):
        read_weights(other, file)


def test_classifier_learns_labels() -> None:
    """The label is the first word."""
    model = build().train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    generator = torch.Generator().manual_seed(0)
    for _ in range(150):
        words = torch.randint(4, 7, (32, 3), generator=generator)
        source = seqx.Column.of(words, torch.full((32,), 3))
        target = seqx.Column.of(words[:, :1], torch.full((32,), 1))
        loss = -model.score(seqx.Batch.of(source=source, target=target)).mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    assert loss < 0.2
