"""Muon: its choice of parameters, its updates, and saving and loading together with AdamW."""

from collections import OrderedDict
from copy import deepcopy
from functools import partial
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

import seqx
from seqx_models import EncoderDecoder
from seqx_training import AdamW, Muon
from seqx_training.muon import MuonWithAdamW, hidden_matrices
from seqx_transformer import T5, Learned, MultiHeadAttention, Shaw, TransformerDecoder, TransformerEncoder


class Net(nn.Module):
    """Different layers between an embedding and a linear head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.embedding = nn.Embedding(9, 6)
        layer = OrderedDict(
            wide=nn.Linear(6, 10), narrow=nn.Linear(10, 6), norm=nn.LayerNorm(6), table=nn.Embedding(3, 6)
        )
        self.layers: seqx.Layers[nn.Module] = seqx.Layers([nn.Sequential(layer), nn.Conv1d(6, 6, 3)])
        self.head = nn.Linear(6, 9)

    def forward(self, ids: Tensor) -> Tensor:
        first, second = self.layers
        assert isinstance(first, nn.Sequential)
        x = self.embedding(ids)
        x = first.get_submodule("norm")(
            x + first.get_submodule("narrow")(first.get_submodule("wide")(x).relu())
        )
        x = x + first.get_submodule("table")(ids % 3)
        x = x + second(nn.functional.pad(x.mT, (2, 0))).mT
        return self.head(x)


HIDDEN = ["layers.0.wide.weight", "layers.0.narrow.weight"]


def train(model: Net, optimizer: torch.optim.Optimizer, updates: int, rate: float = 0.01) -> list[float]:
    """Train a model; return the losses."""
    losses = []
    ids = torch.randint(9, (4, 12), generator=torch.Generator().manual_seed(1))
    for _ in range(updates):
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("scale", 1.0)
        loss = nn.functional.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    return losses


def test_hidden_matrices_are_those_of_encoders_and_decoders() -> None:
    """Tables of positional encodings, tied embeddings and layers of the model itself are not hidden."""
    stack: dict[str, Any] = {"layers": 1, "attention": partial(MultiHeadAttention, heads=2), "dropout": 0.0}
    for positions in (Learned, Shaw, T5):
        model = EncoderDecoder(
            {"source": 9, "target": 11},
            d_model=8,
            encoder=partial(TransformerEncoder, **stack, positions=positions),
            decoder=partial(TransformerDecoder, **stack, positions=positions),
        )
        linear_weights = {
            f"{name}.weight" for name, part in model.named_modules() if isinstance(part, nn.Linear)
        }
        assert len(linear_weights) == 4 + 2 + 8 + 2
        assert set(hidden_matrices(model)) == linear_weights


class Recurrent(seqx.Encoder):
    """An encoder without `seqx.Layers`, with a linear map to a single number."""

    def __init__(self) -> None:
        super().__init__(4)
        self.lstm = nn.LSTM(4, 4)
        self.gate = nn.Linear(4, 1)

    def forward(self, inputs: Tensor, layout: seqx.Layout) -> Tensor:
        states: Tensor = self.lstm(inputs)[0]
        return states * self.gate(states)


def test_hidden_matrices_of_an_encoder_without_layers() -> None:
    assert list(hidden_matrices(nn.Sequential(nn.Linear(4, 4), Recurrent()))) == [
        "1.lstm.weight_ih_l0",
        "1.lstm.weight_hh_l0",
    ]


def test_hidden_matrices_of_layers_exclude_embeddings() -> None:
    model = Net()
    assert list(hidden_matrices(model)) == HIDDEN
    groups = Muon(decay=0.5).build(model).param_groups
    name_of = {id(p): name for name, p in model.named_parameters()}
    assert [[name_of[id(p)] for p in group["params"]] for group in groups] == [
        HIDDEN,
        ["embedding.weight", "layers.0.table.weight", "layers.1.weight", "head.weight"],
        [f"layers.0.{name}" for name in ("wide.bias", "narrow.bias", "norm.weight", "norm.bias")]
        + ["layers.1.bias", "head.bias"],
    ]
    assert [group["weight_decay"] for group in groups] == [0.5, 0.5, 0.0]


def test_muon_refuses_a_model_without_hidden_matrices() -> None:
    with pytest.raises(
        seqx.UserError, match=r"training\.optimizer: muon needs matrices in encoders, decoders or layers"
    ):
        Muon().build(nn.Linear(3, 3))


def test_muon_without_other_parameters_has_no_adamw() -> None:
    layers: seqx.Layers[nn.Linear] = seqx.Layers([nn.Linear(3, 3, bias=False)])
    assert isinstance(Muon().build(layers), torch.optim.Muon)


@pytest.mark.parametrize("adjust", ["match_rms_adamw", "original"])
def test_muon_first_update_is_orthogonal_and_scaled(adjust: Literal["match_rms_adamw", "original"]) -> None:
    """With the singular value decomposition G = U S V' the update is approximately U V'."""
    model, before = Net(), Net()
    optimizer = Muon(adjust=adjust, ratio=3.0, decay=0.0, momentum=0.9).build(model)
    train(model, optimizer, 1)
    for name in HIDDEN:
        moved = model.get_parameter(name).detach() - before.get_parameter(name).detach()
        gradient = model.get_parameter(name).grad
        assert gradient is not None
        u, s, v = torch.linalg.svd(gradient, full_matrices=False)
        rows, columns = gradient.shape
        scale = 0.2 * max(rows, columns) ** 0.5 if adjust != "original" else max(1, rows / columns) ** 0.5
        values = (u.mT @ (-moved / (0.03 * scale)) @ v.mT).diagonal()
        large = s > 0.05 * s.max()  # the iteration does not converge for very small singular values
        assert int(large.sum()) >= 3
        assert bool(((values > 0.6) & (values < 1.3))[large].all()), values
        assert bool((torch.linalg.svdvals(moved) < 0.03 * scale * 1.3).all())


def test_muon_updates_other_parameters_like_adamw() -> None:
    """Compare the first update only; later gradients depend on the other matrices."""
    model, other = Net(), Net()
    train(model, Muon(eps=1e-6, decay=0.1).build(model), 1)
    train(other, AdamW(eps=1e-6, decay=0.1).build(other), 1)
    for (name, p), q in zip(model.named_parameters(), other.parameters(), strict=True):
        assert p.equal(q) == (name not in HIDDEN), name


def test_muon_reduces_the_loss() -> None:
    model = Net()
    losses = train(model, Muon().build(model), 60)
    assert losses[-1] < losses[0] - 1


@pytest.mark.parametrize("as_parts", [False, True], ids=["single_state", "state_of_the_first_checkpoints"])
def test_muon_resumes_bit_for_bit_from_a_saved_state(as_parts: bool) -> None:
    model, other = Net(), Net()
    optimizer = Muon(ratio=2.0).build(model)
    train(model, optimizer, 3)
    other.load_state_dict(model.state_dict())
    resumed = Muon(ratio=2.0).build(other)
    assert isinstance(optimizer, MuonWithAdamW)
    saved = {"parts": [part.state_dict() for part in optimizer.parts]} if as_parts else optimizer.state_dict()
    resumed.load_state_dict(deepcopy(saved))
    assert len(resumed.state) == len(optimizer.state) == len(list(model.parameters()))
    assert train(other, resumed, 3) == train(model, optimizer, 3)
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        assert p.equal(q)


def test_muon_zero_grad_clears_all_gradients() -> None:
    model = Net()
    optimizer = Muon().build(model)
    train(model, optimizer, 1)
    optimizer.zero_grad(set_to_none=True)
    assert all(p.grad is None for p in model.parameters())
