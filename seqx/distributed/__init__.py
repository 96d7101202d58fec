"""Several processes as one run: who they are (`world`), that all live (`watch`), starting them (`launch`)."""

from seqx.distributed.watch import leave
from seqx.distributed.world import ALONE, World, joined

__all__ = ["ALONE", "World", "joined", "leave"]
