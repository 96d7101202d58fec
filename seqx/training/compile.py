"""Compile the layers of a model, one at a time."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack

from torch import nn

from seqx.interfaces.tensors import Layers

MAX_VARIANTS = 128
"""The maximum number of variants of a class of layers that are compiled; one more is an error.

Torch compiles layers with different settings separately, and batches of one sentence, of one token, of few
tokens, or with other strides of a mask. Its own maximum, 8, would end a run at a batch of a rare shape.
"""


def compile_layers(module: nn.Module, *, backend: str = "inductor") -> int:
    """Compile each layer of each stack in `module` at its first call; return the number of layers.

    Layers of the same class share the compiled code, for batches of any size. Parameters keep their names.
    A search calls layers with states that grow; run it under `torch.compiler.set_stance("force_eager")`, so
    that its calls are not compiled.

    Args:
        module: the module that contains the stacks
        backend: the backend of torch.compile
    """
    all_layers = layers(module)
    if all_layers:
        from torch._dynamo import config  # noqa: PLC0415  the import takes seconds

        config.recompile_limit = max(config.recompile_limit, MAX_VARIANTS)
    for layer in all_layers:
        layer.compile(backend=backend, fullgraph=True, dynamic=True)
    return len(all_layers)


def layers(module: nn.Module) -> list[nn.Module]:
    """Return the layers of all stacks in `module`, each once."""
    stacks = [part for part in module.modules() if isinstance(part, Layers)]
    return list(dict.fromkeys(layer for stack in stacks for layer in stack))


def while_compiling(new_context: Callable[[], AbstractContextManager[None]]) -> None:
    """Enter a new context whenever this process compiles or recompiles, and leave it afterwards."""
    from torch._dynamo.callback import (  # noqa: PLC0415  the import takes seconds
        on_compile_end,
        on_compile_start,
    )

    entered = ExitStack()
    on_compile_start(lambda _: entered.enter_context(new_context()))
    on_compile_end(lambda _: entered.close())
