"""Packed weights: they change the speed of a model on a CPU, and nothing else."""

import copy
import warnings
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner, Result
from torch import nn

import seqx
from seqx.cli import main
from seqx.inference.packing import pack
from seqx.runtime.packed_weights import Int8, PackedWeight, Rows
from seqx.runtime.precision import compute_precision, has_bf16, has_int8
from tests.models import write_model


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input="The dog sleeps.\n")


CPU = torch.device("cpu")
LINES = ["The old man sees the house.", "", "The dog sleeps.", "Dogs see the old house of the man."]
FORMATS = [
    pytest.param("fp32", 1e-6),
    pytest.param("bf16", 1e-2, marks=pytest.mark.skipif(not has_bf16(CPU), reason="no bf16")),
    pytest.param("int8", 2e-2, marks=pytest.mark.skipif(not has_int8(), reason="no int8")),
]
pytestmark = pytest.mark.isa


class Tied(nn.Module):
    """A module with a linear map, an embedding that is the output projection, too, and an embedding."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(24, 16)
        self.target = seqx.ScaledEmbedding(40, 16)
        self.projection = nn.Linear(16, 40, bias=False)
        self.projection.weight = self.target.weight
        self.source = seqx.ScaledEmbedding(30, 24)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.linear(self.source(ids)))
        return self.target.logits(x) + self.projection(x) + self.target(ids) @ self.target.weight.t()


IDS = torch.arange(30).view(2, 15)


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return float((actual.float() - expected).norm() / expected.norm())


@pytest.mark.parametrize(("precision", "tolerance"), FORMATS)
@torch.no_grad()
def test_packed_modules_agree_with_plain_ones(precision: str, tolerance: float) -> None:
    model = Tied()
    expected = model(IDS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pack(model, precision, min_size=1)  # type: ignore[arg-type]
    assert relative_error(model(IDS), expected) < tolerance
    assert model.target.weight is model.projection.weight
    assert model(IDS[:0]).shape == (0, 15, 40)
    vector = torch.randn(24)
    assert relative_error(model.linear(vector), Tied().linear(vector)) < 3 * tolerance
    for bias in (torch.randn(32)[::2], torch.randn(1).expand(16)):
        dense = F.linear(vector, Tied().linear.weight, bias)
        assert relative_error(F.linear(vector, model.linear.weight, bias), dense) < 3 * tolerance


@pytest.mark.parametrize(("precision", "tolerance"), FORMATS)
@pytest.mark.parametrize("bias", [False, True])
@torch.no_grad()
def test_joined_weights_compute_all_maps_and_hold_no_weight_twice(
    bias: bool, precision: str, tolerance: float
) -> None:
    torch.manual_seed(0)
    maps = [nn.Linear(24, outputs, bias) for outputs in (8, 16, 8)]
    x, plain = torch.randn(5, 24), copy.deepcopy(maps)
    expected = torch.cat([linear(x) for linear in plain], -1)
    pack(nn.ModuleList(maps), precision, min_size=1)  # type: ignore[arg-type]
    (first, *others), biases = [m.weight for m in maps], [m.bias for m in maps if m.bias is not None]
    assert isinstance(first, PackedWeight)
    joined = first.join(others, biases)
    assert joined is not None
    assert joined is first.join(others, biases)
    assert relative_error(F.linear(x, joined.weight, joined.bias), expected) < tolerance
    for packed, other in zip(maps, plain, strict=True):
        assert relative_error(packed(x), other(x)) < 2 * tolerance
        assert relative_error(packed.weight @ x.t(), other.weight @ x.t()) < 2 * tolerance
        assert isinstance(packed.weight, PackedWeight)
        assert isinstance(packed.weight._packed, Rows)
    assert first.join([plain[1].weight, maps[2].weight], biases) is None
    assert maps[1].to(torch.float64).weight.dtype == torch.float64


@pytest.mark.parametrize(("precision", "tolerance"), FORMATS)
@torch.no_grad()
def test_shape_and_type_of_a_packed_weight_are_known_without_unpacking(
    precision: str, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    maps, x = [nn.Linear(24, outputs, bias=False) for outputs in (8, 16)], torch.randn(5, 24)
    expected = maps[1](x)
    pack(nn.ModuleList(maps), precision, min_size=1)  # type: ignore[arg-type]
    weights = [m.weight for m in maps]
    assert isinstance(weights[0], PackedWeight)
    assert weights[0].join(weights[1:], []) is not None  # both are now rows of one weight
    monkeypatch.setattr(PackedWeight, "dense", None)
    for weight, outputs in zip(weights, (8, 16), strict=True):
        assert weight.shape == weight.size() == (outputs, 24)
        assert (len(weight), weight.numel(), weight.dim(), weight.ndim) == (outputs, outputs * 24, 2, 2)
        assert (weight.device.type, weight.dtype, weight.layout) == ("cpu", torch.float32, torch.strided)
        assert weight.is_floating_point()
        assert not weight.requires_grad
    assert relative_error(maps[1](x), expected) < 2 * tolerance


@pytest.mark.skipif(not has_int8(), reason="no int8")
@torch.no_grad()
def test_int8_without_a_large_weight_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    pack(Tied(), "int8")
    (message,) = caplog.messages
    assert "no weight of the model has 262,144 elements or more" in message
    caplog.clear()
    pack(Tied(), "int8", min_size=24 * 16)
    pack(Tied(), "fp32")
    assert not caplog.messages


@torch.no_grad()
def test_packed_weights_are_saved_like_plain_ones() -> None:
    model, plain = Tied(), Tied()
    pack(model, "fp32", min_size=1)
    assert sum(isinstance(weight, PackedWeight) for weight in model.parameters()) == 3
    state, expected = model.state_dict(), plain.state_dict()
    assert state.keys() == expected.keys()
    for name, tensor in state.items():
        assert type(tensor) is torch.Tensor
        assert tensor.equal(expected[name])
    plain.load_state_dict(state)
    assert [p.numel() for p in model.parameters()] == [p.numel() for p in plain.parameters()]


def test_packed_model_can_be_converted_copied_and_differentiated() -> None:
    model, plain = Tied(), Tied()
    pack(model, "fp32", min_size=1)
    copied = copy.deepcopy(model)
    torch.testing.assert_close(copied(IDS), plain(IDS))
    x = torch.randn(3, 24, requires_grad=True)
    model.linear(x).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, plain.linear.weight.sum(0).expand(3, 24))
    model.double()
    assert model.linear.weight.dtype == torch.float64
    torch.testing.assert_close(model(IDS), plain.double()(IDS))


@torch.no_grad()
def test_packed_weight_is_a_usual_tensor_for_other_functions() -> None:
    model, plain = Tied(), Tied()
    pack(model, "fp32", min_size=1)
    packed, weight, x = model.linear.weight, plain.linear.weight, torch.randn(5, 24)
    assert torch.cat([packed, packed]).equal(torch.cat([weight, weight]))
    assert (packed.shape, packed.dtype, packed.device) == (weight.shape, weight.dtype, weight.device)
    torch.testing.assert_close(x @ packed.t(), x @ weight.t())
    torch.testing.assert_close(F.linear(input=x, weight=packed), F.linear(x, weight))
    assert packed[2:4].equal(weight[2:4])


@pytest.mark.skipif(not has_int8(), reason="no int8")
@torch.no_grad()
def test_int8_outputs_of_a_row_do_not_depend_on_other_rows() -> None:
    linear = Int8(torch.randn(64, 32))
    x = torch.randn(5, 32)
    x[3] *= 1000
    bias = torch.randn(64)
    for i in range(5):
        assert linear.linear(x, bias)[i].equal(linear.linear(x[i : i + 1], bias)[0])
    assert linear.linear(torch.zeros(2, 32), bias).equal(bias.expand(2, -1))
    extreme = Int8(torch.ones(64, 512))  # sums in 16 bits would overflow
    torch.testing.assert_close(extreme.linear(torch.ones(8, 512), None), torch.full((8, 64), 512.0))


def test_small_weights_are_not_packed() -> None:
    model = nn.ModuleList([nn.Linear(8, 8), nn.Linear(512, 512)])
    pack(model, "fp32")
    assert [isinstance(weight, PackedWeight) for weight in model.parameters()] == [False, False, True, False]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("packing") / "model")


def test_packed_models_return_the_nbest_lists_of_plain_ones(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists = []
    for function in (lambda *_: None, partial(pack, min_size=1)):
        monkeypatch.setattr("seqx.inference.loading.pack", function)
        predictor = seqx.load(folder, device="cpu", precision="fp32", num_answers=3)
        lists.append([[text for text, _ in nbest] for nbest in predictor.hypotheses(LINES)])
    assert lists[0] == lists[1]
    packed = {type(parameter) for parameter in predictor.model.parameters()}
    assert packed == {PackedWeight, nn.Parameter}


def test_int8_is_reported_where_it_is_impossible(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(seqx.UserError, match=r"^precision int8: only CPUs compute in int8, not cuda"):
        compute_precision("int8", torch.device("cuda"))
    monkeypatch.setattr("seqx.runtime.precision.has_int8", lambda: False)
    result = call("translate", folder, "--precision", "int8", "--device", "cpu")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == ("precision int8: PyTorch has no int8 kernels for this CPU; write auto or fp32\n")


@pytest.mark.skipif(not has_int8(), reason="no int8")
def test_commands_answer_in_int8(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqx.inference.loading.pack", partial(pack, min_size=1))
    result = call("evaluate", folder, "--precision", "int8", "--device", "cpu")
    assert result.exit_code == 0
    assert "test: answers are computed on cpu in int8 (--precision int8)\n" in result.stderr


def test_int8_is_no_precision_of_training() -> None:
    result = call("check", "wmt_en_de", "--profile", "sample", "training.precision=int8")
    assert result.exit_code == 2
    assert "training.precision=int8: Input should be 'auto', 'bf16' or 'fp32', found 'int8'" in result.stderr
