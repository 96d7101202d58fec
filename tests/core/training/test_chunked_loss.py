"""A loss from outside, computed in chunks and compared with automatic differentiation of all logits."""

import pytest
import torch
from torch import Tensor

import seqx
from seqx.testing.samples import SIZES, SOURCE, TARGET, TARGET_LENGTHS, D
from seqx_models import EncoderDecoder
from seqx_transformer import TransformerDecoder, TransformerEncoder


class FocalLoss(seqx.TokenLoss):
    """The focal loss with gamma = 1 (Lin et al. 2017): -(1 - p) log p, for targets of probability p."""

    names = ("loss",)

    def __init__(self, targets: Tensor) -> None:
        self.targets = targets

    def sums(self, logp: Tensor, part: slice) -> tuple[Tensor, ...]:
        chosen = logp.gather(-1, self.targets[part, None])
        return (((chosen.exp() - 1) * chosen).sum(),)

    def gradient(self, logp: Tensor, part: slice) -> Tensor:
        chosen = logp.gather(-1, self.targets[part, None])
        slope = chosen.exp() * (chosen + 1) - 1  # of the loss with respect to log p
        one_hot = torch.zeros_like(logp).scatter_(-1, self.targets[part, None], 1.0)
        return slope * (one_hot - logp.exp())


@pytest.mark.parametrize("rows", [None, 4])
def test_chunked_loss_from_outside_has_the_gradients_of_all_logits(rows: int | None) -> None:
    torch.manual_seed(0)
    model = EncoderDecoder(
        SIZES,
        d_model=D,
        encoder=lambda d: TransformerEncoder(d, layers=1, dropout=0),
        decoder=lambda d: TransformerDecoder(d, layers=1, dropout=0),
    )
    batch = seqx.Batch({"source": SOURCE, "target": TARGET}, int(TARGET_LENGTHS.sum()))
    targets = seqx.target_ids(batch)
    outputs = seqx.outputs_before_targets(model, batch)
    assert len(outputs) == len(targets) == batch.count
    loss = seqx.chunked_loss(model, outputs, FocalLoss(targets), rows)["loss"]
    parameters = list(model.parameters())
    actual = torch.autograd.grad(loss, parameters)
    logits = model.head(seqx.outputs_before_targets(model, batch))
    (expected_loss,) = FocalLoss(targets).sums(logits.log_softmax(-1), slice(None))
    torch.testing.assert_close(loss, expected_loss)
    torch.testing.assert_close(actual, torch.autograd.grad(expected_loss, parameters))
