import contextlib
from collections.abc import Iterator

import torch

import seqx


class Newcomer(seqx.Parallelism):
    """Data parallelism: gradients are added up over all ranks after the last backward pass of an update."""

    @contextlib.contextmanager
    def gradient_sync(self, *, last: bool) -> Iterator[None]:
        yield
        if last:
            self.stragglers.part_done()  # from here on this rank waits for others
            for p in self.trained():
                if p.grad is not None:
                    self.world.all_reduce(p.grad)

    def abort_update(self, *, sync: bool) -> None:
        for p in self.trained() if sync else ():
            self.world.all_reduce(torch.zeros_like(p))

    def trained(self) -> list[torch.nn.Parameter]:
        return [p for p in self.step.parameters() if p.requires_grad]


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    registry.add(seqx.Parallelism, newcomer=Newcomer)
