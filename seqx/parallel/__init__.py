"""Several processes as one run: who they are (`world`), that all live (`heartbeat`), a start (`launch`)."""

from seqx.parallel.heartbeat import leave
from seqx.parallel.process_group import ALONE, World, joined

__all__ = ["ALONE", "World", "joined", "leave"]
