"""The moving average of a model's weights, compared with the written-out sum."""

from typing import Any

import pytest
import torch
from torch import Tensor

from seqx.interfaces.networks import Generator
from seqx.training.ema import Average, Ema


class TiedModel(Generator):
    """A model with tied embeddings, a parameter that is not trained, and a buffer."""

    def __init__(self) -> None:
        super().__init__({"source": 5, "target": 5})
        self.table = torch.nn.Embedding(5, 3)
        self.projection = torch.nn.Linear(3, 5, bias=False)
        self.projection.weight = self.table.weight
        self.fixed = torch.nn.Parameter(torch.ones(2), requires_grad=False)
        self.seen: Tensor
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def encode(self, source: Any) -> Any: ...
    def start(self, memory: Any, capacity: Any) -> Any: ...
    def advance(self, ids: Any, state: Any, keep: Any) -> Any: ...
    def head(self, outputs: Tensor) -> Tensor:
        return self.projection(outputs)


def change_weights(model: TiedModel, seed: int) -> Tensor:
    """Replace the weights by random ones; return the new matrix."""
    with torch.no_grad():
        model.table.weight.copy_(torch.randn(5, 3, generator=torch.Generator().manual_seed(seed)))
        model.seen += 1
    return model.table.weight.detach().double()


@pytest.mark.parametrize(
    ("ema", "decays"),
    [(Ema(decay=0.9, warmup=False), [0.9] * 5), (Ema(decay=0.3), [2 / 11, 3 / 12, 0.3, 0.3, 0.3])],
)
def test_ema_moves_by_one_minus_decay_per_update(ema: Ema, decays: list[float]) -> None:
    torch.manual_seed(0)
    model = TiedModel()
    average = Average(ema, model)
    averaged = average.model
    assert isinstance(averaged, TiedModel)
    expected = change_weights(model, 0)
    average.add_weights()
    for seed, decay in enumerate(decays, 1):
        expected = decay * expected + (1 - decay) * change_weights(model, seed)
        average.add_weights()
        torch.testing.assert_close(averaged.table.weight.double(), expected, rtol=1e-5, atol=1e-6)
        assert averaged.projection.weight is averaged.table.weight
        assert averaged.fixed.equal(model.fixed)
        assert averaged.seen == model.seen
    requires_grad = [p.requires_grad for p in averaged.parameters()]  # autocast caches casts of these only
    assert requires_grad == [p.requires_grad for p in model.parameters()]
    assert not averaged.table.weight.equal(model.table.weight)


@pytest.mark.promise("skipped-update-keeps-ema")
def test_skipped_update_does_not_change_ema() -> None:
    model = TiedModel()
    average = Average(Ema(decay=0.9, warmup=False), model)
    change_weights(model, 0)
    average.add_weights()
    change_weights(model, 1)
    average.add_weights(torch.tensor(data=False))
    assert isinstance(average.model, TiedModel)
    before = average.model.table.weight.clone()
    average.add_weights(torch.tensor(data=True))
    assert average.model.table.weight.equal(before)
    average.add_weights(torch.tensor(data=False))
    assert not average.model.table.weight.equal(before)


def test_ema_state_has_the_trained_weights() -> None:
    model, other = TiedModel(), TiedModel()
    average, resumed = Average(Ema(), model), Average(Ema(), other)
    for seed in range(4):
        change_weights(model, seed)
        average.add_weights()
    resumed.model.load_state_dict(average.model.state_dict())  # the weights in a checkpoint are the average
    resumed.load_state_dict(average.state_dict())
    assert other.table.weight.equal(model.table.weight)
    for seed in (7, 8):
        for trained, its_average in ((model, average), (other, resumed)):
            change_weights(trained, seed)
            its_average.add_weights()
    assert resumed.model.state_dict().keys() == average.model.state_dict().keys()
    for name, tensor in average.model.state_dict().items():
        assert resumed.model.state_dict()[name].equal(tensor)


def test_ema_decay_with_and_without_warmup() -> None:
    assert [Ema(decay=0.999).decay_after(t) for t in (1, 90, 100_000)] == [2 / 11, 0.91, 0.999]
    assert Ema(decay=0.5, warmup=False).decay_after(1) == 0.5
