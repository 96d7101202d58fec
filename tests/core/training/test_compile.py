"""Compiled layers give the results of uncompiled ones, and are compiled once for all shapes."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest
import torch
from torch import Tensor

import seqx
from seqx.training.compile import compile_layers, while_compiling
from seqx_models import EncoderDecoder
from seqx_transformer import MultiHeadAttention, TransformerDecoder, TransformerEncoder
from seqx_transformer.kernels.flex import Flex

# The compiler itself reads .grad of the inputs of a layer.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute")

SIZES = {"source": 23, "target": 23}
SHAPES = [(3, 5, 7), (6, 9, 4), (2, 6, 6), (5, 3, 11), (7, 8, 8), (4, 12, 2)]  # sentences, source, target


@pytest.fixture(autouse=True)
def _reset_compiler() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def build_model() -> EncoderDecoder:
    torch.manual_seed(1)
    return EncoderDecoder(
        SIZES,
        d_model=16,
        encoder=lambda d: TransformerEncoder(d, layers=2, dropout=0.0),
        decoder=lambda d: TransformerDecoder(d, layers=1, dropout=0.0),
    )


def tokens(count: int, length: int) -> seqx.Column:
    lengths = torch.randint(1, length + 1, (count,))
    lengths[0] = length
    ids = torch.randint(4, 23, (count, length))
    return seqx.Column.of(ids.masked_fill(torch.arange(length) >= lengths[:, None], seqx.PAD), lengths)


def gradients(model: seqx.Generator, shape: tuple[int, int, int]) -> dict[str, Tensor]:
    model.zero_grad()
    torch.manual_seed(math.prod(shape))
    model.score(
        seqx.Batch.of(source=tokens(shape[0], shape[1]), target=tokens(shape[0], shape[2]))
    ).sum().backward()  # type: ignore[no-untyped-call]
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.slow
def test_compiled_layers_keep_outputs_and_names_and_compile_once_for_all_shapes() -> None:
    plain, compiled = build_model(), build_model()
    assert compile_layers(compiled, backend="aot_eager") == 3
    assert compiled.state_dict().keys() == plain.state_dict().keys()
    # Otherwise torch traces floats as variables, and traces a layer a second time if they must be constants.
    with torch._dynamo.config.patch(specialize_float=True):
        for shape in SHAPES[:2]:
            torch.testing.assert_close(gradients(compiled, shape), gradients(plain, shape))
    with torch.compiler.set_stance("fail_on_recompile"):
        for shape in SHAPES[2:]:
            torch.testing.assert_close(gradients(compiled, shape), gradients(plain, shape))


def test_compile_finds_no_layers_in_a_model_without_stacks() -> None:
    assert compile_layers(torch.nn.Linear(2, 2)) == 0


class Scaling(torch.nn.Module):
    """A layer with a setting that torch compiles as a constant."""

    def __init__(self, setting: str) -> None:
        super().__init__()
        self.setting = setting

    def forward(self, x: Tensor) -> Tensor:
        return x * len(self.setting)


def test_layers_with_many_different_settings_are_compiled() -> None:
    """Torch's own limit would refuse the ninth one, as the ninth kind of shapes."""
    stack: seqx.Layers[Scaling] = seqx.Layers(Scaling("a" * factor) for factor in range(1, 10))
    compile_layers(stack, backend="eager")
    x = torch.ones(2, 3)
    assert [float(layer(x).mean()) for layer in stack] == [*range(1, 10)]


@torch.no_grad()
def test_flex_attention_is_a_part_of_compiled_layers() -> None:
    """On a GPU, where it is compiled alone otherwise."""
    torch.manual_seed(1)
    attention = partial(MultiHeadAttention, heads=2, kernel=Flex)
    encoder = TransformerEncoder(32, layers=1, attention=attention).eval()
    layout, x = tokens(3, 20).layout, torch.randn(3, 20, 32)
    expected = encoder(x, layout)
    compile_layers(encoder, backend="eager")
    torch.testing.assert_close(encoder(x, layout), expected)


@pytest.mark.promise("slow-compilation")
def test_compile_time_is_not_counted_when_looking_for_stragglers() -> None:
    """The same holds when torch recompiles for another size."""
    calls = list[str]()

    @contextmanager
    def context() -> Iterator[None]:
        calls.append("enter")
        yield
        calls.append("leave")

    def backend(graph: torch.fx.GraphModule, _: list[Tensor]) -> Callable[..., object]:
        calls.append("compile")
        return graph.forward

    while_compiling(context)
    double = torch.compile(lambda x: 2 * x, backend=backend, dynamic=False)
    for size in (2, 2, 3):
        double(torch.ones(size))
    assert calls == ["enter", "compile", "leave"] * 2
