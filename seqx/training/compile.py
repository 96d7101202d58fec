"""Compile the layers of a model, one at a time."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack

from torch import nn

from seqx.interfaces.tensors import Layers


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
