"""Parallel strategies; torch's modules for them are imported only if a recipe names the strategy."""

import seqx


def fsdp(*, reshard_after_forward: bool = True) -> seqx.Parallelism:
    """Sharded data parallelism (FSDP): each rank keeps a shard of weights, gradients and optimizer state.

    Args:
        reshard_after_forward: gather the weights of one layer at a time, which needs a model that calls each
            layer once per batch; false: gather all weights for an update
    """
    return seqx.FSDP(reshard_after_forward=reshard_after_forward)
