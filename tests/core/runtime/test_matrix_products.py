"""Float32 products by oneDNN have the right values for all layouts, and are used where oneDNN is faster."""

import random
from collections.abc import Mapping
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn

from seqx.runtime import matrix_products
from seqx.runtime.matrix_products import OneDNNProducts, fast_products

CPU = torch.device("cpu")
AMD = {"cpu_name": "AMD EPYC", "avx512_f": True}  # Zen 4
ZEN_5 = {**AMD, "avx512_vp2intersect": True}


@pytest.fixture
def onednn_calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Let oneDNN multiply matrices of any size, and return the list of the shapes of its results."""
    if not torch._C._has_mkldnn:
        pytest.skip("torch was built without oneDNN")
    calls, product = [], matrix_products._onednn

    def recorded(a: Tensor, b: Tensor, bias: Tensor | None) -> Tensor:
        result = product(a, b, bias)
        calls.append((*result.shape,))
        return result

    monkeypatch.setattr(matrix_products, "_onednn", recorded)
    monkeypatch.setattr(matrix_products, "SMALLEST", 1)
    return calls


def layouts(x: Tensor) -> Mapping[str, Tensor]:
    """Return tensors of the shape of `x` in different memory layouts."""
    rows, columns = x.shape
    padded, spread = (
        torch.full((rows + 3, columns + 5), torch.nan),
        torch.full((2 * rows, 3 * columns), torch.nan),
    )
    padded[2:-1, 1:-4], spread[::2, ::3] = x, x
    return {
        "contiguous": x,
        "transposed": x.t().contiguous().t(),
        "part": padded[2:-1, 1:-4],
        "strided": spread[::2, ::3],
        "one row": x[:1].expand(x.shape),
        "one column": x[:, :1].expand(x.shape),
    }


def biases(outputs: int, rows: int) -> Mapping[str, Tensor | None]:
    wide = torch.randn(2 * outputs)
    return {
        "none": None,
        "vector": wide[:outputs],
        "strided vector": wide[::2],
        "one number": wide[:1].expand(outputs),
        "scalar": wide[0],
        "column": torch.randn(rows, 1),
        "matrix": torch.randn(rows, outputs),
    }


@pytest.mark.isa
def test_onednn_product_is_right_for_all_layouts(onednn_calls: list[tuple[int, ...]]) -> None:
    rng = random.Random(0)
    with OneDNNProducts(copy_from=0):
        for a_layout in layouts(torch.zeros(2, 2)):
            for b_layout in layouts(torch.zeros(2, 2)):
                rows, inner, outputs = (rng.choice([1, 2, 3, 16, 33, 100]) for _ in range(3))
                a = layouts(torch.randn(rows, inner))[a_layout]
                b = layouts(torch.randn(inner, outputs))[b_layout]
                for name, bias in biases(outputs, rows).items():
                    right = a.double() @ b.double() + (0 if bias is None else bias.double())
                    result = a @ b if bias is None else torch.addmm(bias, a, b)
                    case = f"{a_layout} {a.shape}, {b_layout} {b.shape}, bias {name}"
                    torch.testing.assert_close(
                        result,
                        right.float(),
                        rtol=1e-4,
                        atol=2e-3,
                        msg=case,
                    )
    assert len(onednn_calls) >= 36 * 4


def test_onednn_computes_forward_and_backward_passes(onednn_calls: list[tuple[int, ...]]) -> None:
    layer, x = nn.Linear(8, 5), torch.randn(3, 8, requires_grad=True)
    parameters = [x, layer.weight, layer.bias]
    expected = torch.autograd.grad(layer(x).square().sum(), parameters)
    assert not onednn_calls
    with OneDNNProducts(copy_from=0):
        gradients = torch.autograd.grad(layer(x).square().sum(), parameters)
    assert sorted(onednn_calls) == [(3, 5), (3, 8), (5, 8)]
    torch.testing.assert_close(gradients, expected)


def test_onednn_leaves_gradients_of_weights_to_torch_if_it_would_copy(
    onednn_calls: list[tuple[int, ...]],
) -> None:
    layer, x = nn.Linear(8, 5), torch.randn(3, 8, requires_grad=True)
    parameters = [x, layer.weight, layer.bias]
    expected = torch.autograd.grad(layer(x).square().sum(), parameters)
    with OneDNNProducts(copy_from=9):
        gradients = torch.autograd.grad(layer(x).square().sum(), parameters)
    assert sorted(onednn_calls) == [(3, 5), (3, 8)]
    torch.testing.assert_close(gradients, expected)


def test_torch_uses_its_own_kernels_after_onednn_products(onednn_calls: list[tuple[int, ...]]) -> None:
    a, b = torch.randn(4, 4), torch.randn(4, 4)
    before = a @ b
    for _ in range(2):
        with OneDNNProducts(copy_from=0):
            torch.testing.assert_close(a @ b, before)
    assert len(onednn_calls) == 2
    assert torch.equal(a @ b, before)
    assert len(onednn_calls) == 2


def test_onednn_products_leave_other_numbers_and_small_products_to_torch(
    onednn_calls: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with OneDNNProducts(copy_from=0):
        for dtype in (torch.float64, torch.bfloat16, torch.long, torch.complex64):
            matrix, vector = torch.ones(3, 3, dtype=dtype), torch.ones(3, dtype=dtype)
            assert torch.equal(matrix @ matrix, 3 * matrix)
            assert torch.equal(torch.addmm(vector, matrix, matrix, beta=2, alpha=3), 11 * matrix)
        assert torch.equal(
            torch.addmm(torch.ones(3), torch.ones(3, 3), torch.eye(3), beta=2), 3 * torch.ones(3, 3)
        )
        assert (torch.ones(2, 0) @ torch.ones(0, 3)).tolist() == [[0, 0, 0]] * 2
        assert (torch.ones(0, 2) @ torch.ones(2, 3)).shape == (0, 3)
        monkeypatch.setattr(matrix_products, "SMALLEST", 28)
        torch.ones(3, 3) @ torch.ones(3, 3)
    assert not onednn_calls


def test_onednn_products_raise_the_errors_of_torch(onednn_calls: list[tuple[int, ...]]) -> None:
    with OneDNNProducts(copy_from=0):
        with pytest.raises(RuntimeError, match=r"shapes cannot be multiplied \(2x3 and 4x5\)"):
            torch.randn(2, 3) @ torch.randn(4, 5)
        with pytest.raises(RuntimeError, match="must match the existing size"):
            torch.addmm(torch.randn(7), torch.randn(2, 3), torch.randn(3, 5))
        with pytest.raises(RuntimeError, match="same dtype"):
            torch.randn(2, 3) @ torch.randn(3, 5).double()
    assert not onednn_calls


@pytest.mark.parametrize(
    ("cpu", "device", "precision", "used"),
    [
        (AMD, "cpu", "fp32", True),
        (AMD, "cpu", "bf16", False),
        (AMD, "cuda", "fp32", False),
        ({**AMD, "avx512_f": False}, "cpu", "fp32", False),
        ({**AMD, "cpu_name": "Intel Xeon"}, "cpu", "fp32", False),
        ({}, "cpu", "fp32", False),  # torch does not know the CPU
    ],
)
def test_onednn_multiplies_on_amd_cpus_with_avx512(
    cpu: Mapping[str, object], device: str, precision: str, used: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: cpu)
    for library in ("has_mkl", "_has_mkldnn"):
        monkeypatch.setattr(torch._C, library, True)
    context = fast_products(torch.device(device), precision)  # type: ignore[arg-type]
    assert isinstance(context, OneDNNProducts if used else nullcontext)


@pytest.mark.parametrize(("cpu", "products"), [(AMD, 2), (ZEN_5, 3)])
def test_onednn_computes_gradients_of_weights_on_cpus_with_wide_units(
    cpu: Mapping[str, object],
    products: int,
    monkeypatch: pytest.MonkeyPatch,
    onednn_calls: list[tuple[int, ...]],
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: cpu)
    monkeypatch.setattr(torch._C, "has_mkl", True)
    layer, x = nn.Linear(8, 5), torch.randn(3, 8, requires_grad=True)
    with fast_products(CPU, "fp32"):
        layer(x).square().sum().backward()
    assert len(onednn_calls) == products
