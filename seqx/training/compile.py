"""Compiling the layers of a model, each as a unit."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack

from torch import nn

from seqx.interfaces.values import Layers


def compile_layers(module: nn.Module, *, backend: str = "inductor") -> int:
    """Have each layer of each stack in `module` compiled when it is first called; returns how many.

    Layers of one kind share what was compiled, for batches of any size. Parameters keep their names. Searches
    call layers in other ways, and are best kept out (`torch.compiler.set_stance("force_eager")`).

    Args:
        module: what holds the stacks
        backend: of torch.compile
    """
    found = layers(module)
    for layer in found:
        layer.compile(backend=backend, fullgraph=True, dynamic=True)
    return len(found)


def layers(module: nn.Module) -> list[nn.Module]:
    """Return the layers of all stacks in `module`, each once."""
    stacks = [part for part in module.modules() if isinstance(part, Layers)]
    return list(dict.fromkeys(layer for stack in stacks for layer in stack))


def while_compiling(block: Callable[[], AbstractContextManager[None]]) -> None:
    """Enter a `block` whenever this process compiles something, also for sizes that come late."""
    from torch._dynamo.callback import (  # noqa: PLC0415  seconds, for those who compile
        on_compile_end,
        on_compile_start,
    )

    entered = ExitStack()
    on_compile_start(lambda _: entered.enter_context(block()))
    on_compile_end(lambda _: entered.close())
