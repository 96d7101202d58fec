"""Slots drop the columns of their caches that no hypothesis sees, and compute the same logits afterwards."""

import pytest
import torch
from torch import Tensor

import seqx
from seqx_models import EncoderDecoder
from seqx_transformer import TransformerDecoder, TransformerEncoder, slots

B, K, V, STEPS = 3, 4, 11, 30
RELEASED, FILLED = 18, 20  # steps before which a slot is released and filled


def build_model() -> seqx.Generator:
    torch.manual_seed(1)
    return EncoderDecoder(
        {"source": V, "target": V},
        d_model=16,
        encoder=lambda d: TransformerEncoder(d, layers=1),
        decoder=lambda d: TransformerDecoder(d, layers=2),
    ).eval()


def sources(count: int) -> seqx.Column:
    return seqx.Column.of(torch.randint(4, V, (count, 5)), torch.tensor([5, 3, 4, 5])[:count])


def decode(model: seqx.Generator, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Tensor], list[int]]:
    """Return the logits of each step, and the numbers of columns; hypotheses often continue the same one."""
    columns = list[int]()
    extend = slots.Cache.extend

    def recorded(cache: slots.Cache, new: seqx.KeyValue, layout: seqx.Layout) -> seqx.KeyValue:
        extended = extend(cache, new, layout)
        columns.append(extended.keys.size(-2))
        return extended

    monkeypatch.setattr(slots.Cache, "extend", recorded)
    torch.manual_seed(2)
    decoded = model.slots(model.encode(sources(B)), B, K, STEPS)
    logits = list[Tensor]()
    for step in range(STEPS):
        if step == RELEASED:
            decoded.release([1])
        if step == FILLED:
            decoded.fill([1], model.encode(sources(1)))
        ids = torch.randint(4, V, (len(decoded.occupied) * K,))
        logits.append(decoded.step(ids if step else torch.full_like(ids, seqx.BOS)))
        decoded.reorder(torch.randint(0, 2, (len(decoded.occupied), K)))
    return logits, columns


def test_slots_drop_columns_that_no_hypothesis_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build_model()
    with torch.no_grad():
        with monkeypatch.context() as patch:
            patch.setattr(slots, "MIN_COLUMNS", 16)
            actual, few = decode(model, patch)
        monkeypatch.setattr(slots, "MIN_COLUMNS", STEPS * K + 1)
        expected, all_columns = decode(model, monkeypatch)
    for ours, theirs in zip(actual, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert max(all_columns) == STEPS * K
    assert max(few) < STEPS * K / 2
