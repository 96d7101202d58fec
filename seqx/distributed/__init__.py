"""Several processes as one run: who they are (`world`), that all live (`heartbeat`), a start (`launch`)."""

from seqx.distributed.heartbeat import leave
from seqx.distributed.world import ALONE, World, joined

__all__ = ["ALONE", "World", "joined", "leave"]
