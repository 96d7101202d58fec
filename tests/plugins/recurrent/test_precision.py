"""The dtypes of recurrent kernels under autocast."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

import seqx
from seqx_recurrent import GRUDecoder, GRUEncoder, LSTMDecoder, LSTMEncoder
from seqx_recurrent.recurrence import kernel_dtype
from seqx_transformer import MultiHeadAttention

pytestmark = pytest.mark.isa

B, S, T, D = 3, 5, 4, 16
KEEP = torch.arange(T) < torch.tensor([4, 0, 2])[:, None]
CPU, CUDA = torch.device("cpu"), torch.device("cuda")
KERNELS = {torch.lstm: "lstm", torch.gru: "gru", torch.lstm_cell: "lstm_cell", torch.gru_cell: "gru_cell"}
ORDERS: list[dict[str, Any]] = [{}, {"input_feeding": True}, {"order": "bahdanau"}]


class KernelCalls(TorchFunctionMode):
    """Context that records calls of recurrent kernels: name, state of autocast and dtypes of the tensors."""

    def __init__(self) -> None:
        self.calls: set[tuple[str, bool, torch.dtype]] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in KERNELS:
            for tensor in torch.utils._pytree.tree_leaves(args):
                if isinstance(tensor, Tensor):
                    self.calls.add((KERNELS[func], torch.is_autocast_enabled("cpu"), tensor.dtype))
        return func(*args, **(kwargs or {}))


def disable_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate a CPU without bfloat16."""
    monkeypatch.setattr(seqx, "has_bf16", lambda device: False, raising=False)


def encode(encoder: Any) -> Tensor:
    layout = seqx.Layout.of(torch.arange(S) < torch.tensor([5, 1, 3])[:, None])
    return encoder(torch.randn(B, S, D), layout)


def decode(decoder: Any) -> Tensor:
    """Return the outputs of a padded batch and of one more token per sentence."""
    states = torch.randn(B, S, D)
    source = seqx.Memory(states, states, seqx.Layout.of(torch.ones(B, S, dtype=torch.bool)))
    first, state = decoder(torch.randn(B, T, D), decoder.start(source, B, None), KEEP)
    more, _ = decoder(torch.randn(B, 1, D), state, None)
    return torch.cat([first[KEEP], more[:, 0]])


def decoder_of(kind: Any, order: dict[str, Any]) -> Any:
    return kind(
        D, attention=partial(MultiHeadAttention, heads=2), dropout=0.0, recurrent_dropout=0.3, **order
    )


@pytest.mark.parametrize("order", ORDERS, ids=str)
@pytest.mark.parametrize(("kind", "name"), [(LSTMDecoder, "lstm"), (GRUDecoder, "gru")])
def test_recurrent_decoders_run_in_float32_on_cpus_without_bf16(
    kind: Any, name: str, order: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    disable_bf16(monkeypatch)
    decoder = decoder_of(kind, order)
    with KernelCalls() as calls, torch.autocast("cpu", torch.bfloat16):
        outputs = decode(decoder)
    assert calls.calls == {(f"{name}_cell" if order else name, False, torch.float32)}
    outputs.float().sum().backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in decoder.parameters())


@pytest.mark.parametrize(("kind", "name"), [(LSTMEncoder, "lstm"), (GRUEncoder, "gru")])
def test_recurrent_encoders_run_in_float32_on_cpus_without_bf16(
    kind: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    disable_bf16(monkeypatch)
    encoder = kind(D, bidirectional="first", residual=True)
    with KernelCalls() as calls, torch.autocast("cpu", torch.bfloat16):
        encode(encoder)
    assert calls.calls == {(name, False, torch.float32)}


@pytest.mark.parametrize("order", ORDERS, ids=str)
@pytest.mark.parametrize("kind", [LSTMDecoder, GRUDecoder])
def test_recurrent_outputs_agree_with_and_without_bf16(
    kind: Any, order: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outputs in training and in decoding agree, with any instruction set of the CPU."""
    decoder = decoder_of(kind, order)

    def outputs() -> Tensor:
        torch.manual_seed(1)
        return decode(decoder).float()

    for grad in (True, False):
        decoder.train(grad)
        with torch.set_grad_enabled(grad):
            expected = outputs()
            with torch.autocast("cpu", torch.bfloat16):
                torch.testing.assert_close(outputs(), expected, rtol=0.1, atol=0.05)
            with monkeypatch.context() as patch, torch.autocast("cpu", torch.bfloat16):
                disable_bf16(patch)
                torch.testing.assert_close(outputs(), expected, rtol=0.1, atol=0.05)


@pytest.mark.parametrize("order", ORDERS, ids=str)
@pytest.mark.parametrize("kind", [LSTMDecoder, GRUDecoder])
def test_recurrent_kernel_runs_in_kernel_dtype_with_autocast_disabled(
    kind: Any, order: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU is simulated; every CPU has a kernel for bfloat16 without autocast."""
    monkeypatch.setattr("seqx_recurrent.recurrence.kernel_dtype", lambda device: torch.bfloat16)
    with KernelCalls() as calls, torch.autocast("cpu", torch.bfloat16):
        decode(decoder_of(kind, order))
    assert {(autocast, dtype) for _, autocast, dtype in calls.calls} == {(False, torch.bfloat16)}


def test_kernel_dtype_leaves_autocast_on_where_its_kernels_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    assert kernel_dtype(CPU) is kernel_dtype(CUDA) is None
    monkeypatch.setattr(seqx, "has_bf16", lambda device: True, raising=False)
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda kind: True)
    monkeypatch.setattr(torch, "get_autocast_dtype", lambda kind: torch.bfloat16)
    assert kernel_dtype(CPU) is None
    assert kernel_dtype(CUDA) == torch.bfloat16
    disable_bf16(monkeypatch)
    assert kernel_dtype(CPU) == kernel_dtype(CUDA) == torch.float32


@pytest.mark.parametrize("kind", [LSTMEncoder, GRUEncoder])
def test_recurrent_layer_compiles_to_one_graph_under_autocast(kind: Any) -> None:
    encoder = kind(D).eval()
    torch.compiler.reset()
    try:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            torch.manual_seed(1)
            expected = encode(encoder).float()
            torch.manual_seed(1)
            compiled = torch.compile(encode, backend="eager", fullgraph=True)(encoder)
        torch.testing.assert_close(compiled.float(), expected, rtol=0.1, atol=0.05)
    finally:
        torch.compiler.reset()
