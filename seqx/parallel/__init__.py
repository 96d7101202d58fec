"""Several processes as one run: who they are (`world`), that all live (`heartbeat`), a start (`launch`)."""

from seqx.parallel.heartbeat import leave
from seqx.parallel.process_group import SINGLE_PROCESS, World, joined

__all__ = ["SINGLE_PROCESS", "World", "joined", "leave"]
