"""Training and decoding with several processes."""

from seqx.parallel.heartbeat import leave
from seqx.parallel.process_group import SINGLE_PROCESS, World, join_ranks

__all__ = ["SINGLE_PROCESS", "World", "join_ranks", "leave"]
