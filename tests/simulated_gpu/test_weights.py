"""On the simulated GPU, weights that are cast together give the same gradients as weights cast one by one."""

import pytest
import torch
from torch import Tensor

import seqx
import seqx_transformer.weights
from seqx_transformer import GroupedQueryAttention, MultiHeadAttention, TransformerDecoder, TransformerEncoder
from tests.simulated_gpu import backend  # noqa: F401  before the first backward pass
from tests.simulated_gpu.device import SimulatedGpu
from tests.simulated_gpu.small import CUDA, SOURCE


def gradients(attention: type[MultiHeadAttention], bias: bool) -> tuple[dict[str, Tensor], int]:
    """Return the gradients of an encoder and a decoder in bf16, and the number of kernels."""
    torch.manual_seed(1)

    def make(d_model: int) -> MultiHeadAttention:
        return attention(d_model, heads=2, bias=bias)

    encoder = TransformerEncoder(16, layers=2, attention=make, dropout=0)
    decoder = TransformerDecoder(16, layers=2, attention=make, dropout=0)
    stacks = torch.nn.ModuleList([encoder, decoder])
    x = torch.randn(4, 4, 16)
    with SimulatedGpu() as gpu:
        stacks.to(CUDA)
        layout = SOURCE.to(CUDA).layout
        with torch.autocast("cuda", torch.bfloat16):
            memory = seqx.Memory(encoder(x.to(CUDA), layout), x, layout)
            outputs, _ = decoder(x.to(CUDA), decoder.start(memory, 4, None), layout.keep)
        outputs.float().square().sum().backward()
        names = dict(stacks.named_parameters())
        found = {name: p.grad.cpu() for name, p in names.items() if p.grad is not None}
        assert len(found) == len(names)
        return found, gpu.kernels


@pytest.mark.parametrize("bias", [False, True])
def test_weights_cast_together_give_the_same_bits(bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    actual, kernels = gradients(GroupedQueryAttention, bias)  # it does not join its projections
    monkeypatch.setattr(seqx_transformer.weights, "_can_join", lambda _: False)  # as with FSDP
    expected, more_kernels = gradients(GroupedQueryAttention, bias)
    assert all(torch.equal(actual[name], expected[name]) for name in expected)
    assert kernels < more_kernels


@pytest.mark.parametrize("bias", [False, True])
def test_joined_projections_give_the_same_gradients(bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    actual, kernels = gradients(MultiHeadAttention, bias)
    monkeypatch.setattr(MultiHeadAttention, "joins_projections", False)
    expected, more_kernels = gradients(MultiHeadAttention, bias)
    for name, gradient in expected.items():
        torch.testing.assert_close(
            actual[name], gradient, rtol=0.1, atol=1e-4 + 0.02 * float(gradient.abs().max())
        )
    assert kernels < more_kernels
