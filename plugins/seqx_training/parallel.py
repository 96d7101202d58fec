"""Parallel strategies; torch's modules for them are imported only if a recipe names the strategy."""

from typing import Literal

import seqx


def fsdp(*, reshard_after_forward: bool = True, gather: Literal["fp32", "bf16"] = "fp32") -> seqx.Parallelism:
    """Sharded data parallelism (FSDP): each rank keeps a shard of weights, gradients and optimizer state.

    Args:
        reshard_after_forward: gather the weights of one layer at a time, which needs a model that calls each
            layer once per batch; false: gather all weights for an update
        gather: the precision in which weights are gathered and used; bf16 halves the bytes that ranks
            exchange for it. Shards, gradients that are added up, and the optimizer state are always fp32
    """
    return seqx.FSDP(reshard_after_forward=reshard_after_forward, gather=gather)
