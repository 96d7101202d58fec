"""The interface of kernels, and the kernel that accepts all inputs.

Letters in shapes: B sentences, T queries, S keys, H heads, G groups of heads that share keys and values (H if
none share them), K the width of a head's queries and keys, V that of its values.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

import seqx
from seqx_transformer.layers import Dropout

FEW = 16
"""The largest number of queries of a sentence for which `FewQueries` is used."""


class HeadInputs(NamedTuple):
    """The inputs of a kernel: all heads of an attention."""

    queries: Tensor  # [B, H, T, K]; their products with keys, times `scale`, are the scores
    memory: seqx.KeyValue  # keys [B, G, S, K] and values [B, G, S, V]; see `Kernel.reads_groups`
    positioned: seqx.Positioned  # of the queries
    mask: seqx.Mask
    positional: Tensor | None  # term [B or 1, H or 1, T, S] of the positional encoding to add to the scores
    dropout: Dropout  # of the attention weights
    scores: Callable[[Tensor, Tensor], Tensor] | None = None  # scores of queries and keys; None: dot products
    scale: float = 1.0  # 1 unless the kernel `applies_scale`


class Kernel(ABC):
    """A way to compute softmax(scores + mask + positional term) V in each head.

    All kernels give the same result, apart from rounding, for queries that may attend to a key. The result of
    other queries is arbitrary but finite.
    """

    applies_scale: ClassVar[bool] = False
    """True if the kernel multiplies scores by `HeadInputs.scale`; otherwise it gets scaled queries."""

    reads_groups: ClassVar[bool] = False
    """True if the kernel reads the keys and values of G groups; otherwise they are repeated for H heads."""

    @abstractmethod
    def limitation(self, inputs: HeadInputs) -> str | None:
        """Return a reason why this kernel cannot compute these inputs; None if it can."""

    @abstractmethod
    def __call__(self, inputs: HeadInputs) -> Tensor:
        """Return the outputs of all heads [B, H, T, V]."""

    def prepare(self, queries: seqx.Layout, keys: seqx.Layout, mask: seqx.Mask, like: Tensor) -> None:
        """Compute the tensor that the kernel reads from a shared mask, once for all layers of a stack.

        Args:
            queries: layout of the queries
            keys: layout of the keys
            mask: the result of `Mask.share` for these layouts
            like: a tensor with the dtype and device of the queries
        """
        mask.additive(queries, keys, like.dtype)


def fused_limitation(inputs: HeadInputs, *, dropout: bool) -> str | None:
    """Return a reason why a fused kernel cannot compute the inputs; None if it can.

    A fused kernel computes dot products as scores, and does not return the attention weights.

    Args:
        inputs: the inputs of the kernel
        dropout: true if the kernel has dropout of attention weights
    """
    if inputs.scores is not None:
        return "it computes no scores other than dot products"
    if inputs.positioned.encoding.has_value_term:
        return "the positional encoding adds to the values, for which it needs the attention weights"
    if not dropout and inputs.dropout.training and inputs.dropout.p > 0:
        return "it has no dropout of attention weights"
    return None


class Eager(Kernel):
    """Scores, softmax and weighted sum as separate operations; accepts all inputs.

    It is the fastest for short sequences on CPUs. It needs memory for the weights of all pairs of tokens.
    """

    reads_groups: ClassVar[bool] = True

    def limitation(self, inputs: HeadInputs) -> None:
        """Return None: the kernel computes all inputs."""
        return

    def __call__(self, inputs: HeadInputs) -> Tensor:
        """Return the outputs of all heads [B, H, T, V]."""
        weights = inputs.dropout(scores(inputs).add_(dense_bias(inputs)).softmax(-1))  # [B, H, T, S]
        heads = products(weights, inputs.memory.values)
        added = inputs.positioned.values(weights, inputs.memory)
        return heads if added is None else heads + added


class FewQueries(Kernel):
    """The operations of `Eager` for few queries: scale and mask are parts of the product of queries and keys.

    It is for the steps of a search, where an operation takes longer to call than to compute. All heads have a
    mask of their own, which for many queries would need too much memory.
    """

    applies_scale: ClassVar[bool] = True
    reads_groups: ClassVar[bool] = True

    def limitation(self, inputs: HeadInputs) -> str | None:
        """Return a reason why the kernel cannot compute the inputs; None if it can."""
        if inputs.positional is not None:
            return "it adds no term of the positional encoding to the scores"
        return fused_limitation(inputs, dropout=False)

    def __call__(self, inputs: HeadInputs) -> Tensor:
        """Return the outputs of all heads [B, H, T, V]."""
        k, v = inputs.memory.keys.flatten(0, 1), inputs.memory.values.flatten(0, 1)  # [B G, S, K]
        q = inputs.queries.reshape(k.size(0), -1, k.size(2))  # [B G, H / G T, K]
        mask = self._mask(inputs)
        weights = torch.baddbmm(mask, q, k.mT, alpha=inputs.scale).softmax(-1)  # [B G, H / G T, S]
        return torch.bmm(weights, v).view(*inputs.queries.shape[:3], -1)

    def _mask(self, inputs: HeadInputs) -> Tensor:
        """Return the term [B G, H / G T, S] for scores, computed once for all layers of a stack."""
        queries, keys, dtype = inputs.positioned.layout, inputs.memory.layout, inputs.queries.dtype
        heads, groups = inputs.queries.size(1), inputs.memory.keys.size(1)

        def build() -> Tensor:
            by_head = inputs.mask.additive(queries, keys, dtype).expand(-1, heads, -1, -1)
            return as_rows(by_head, groups).flatten(0, 1)

        return inputs.mask.form(("by head", heads, groups, dtype), queries, keys, build)


def scores(inputs: HeadInputs) -> Tensor:
    """Return the scores [B, H, T, S] without mask and positional term."""
    q, k = inputs.queries, inputs.memory.keys
    return products(q, k.mT) if inputs.scores is None else inputs.scores(q, k)


def products(x: Tensor, y: Tensor) -> Tensor:
    """Return the products [B, H, T, M] of matrices [B, H, T, N] of heads and [B, G, N, M] of their groups.

    The heads of a group are rows of one product, so the matrices of groups are not repeated.
    """
    groups = y.size(1)
    return x @ y if x.size(1) == groups else (as_rows(x, groups) @ y).view(*x.shape[:3], y.size(3))


def as_rows(x: Tensor, groups: int) -> Tensor:
    """Return [B, H, T, N] as [B, G, H / G T, N]: the rows of all heads of a group, head by head."""
    batch, heads, length, width = x.shape
    return x.reshape(batch, groups, heads // groups * length, width)


def for_each_head(x: Tensor, heads: int) -> Tensor:
    """Return keys or values [B, G, S, K] as [B, H, S, K], with those of each group repeated for its heads."""
    groups = x.size(1)
    return x if groups == heads else x[:, :, None].expand(-1, -1, heads // groups, -1, -1).flatten(1, 2)


def with_repeated_groups(inputs: HeadInputs) -> HeadInputs:
    """Return the same inputs with keys and values for each head, for kernels that read no groups."""
    memory, heads = inputs.memory, inputs.queries.size(1)
    if memory.keys.size(1) == heads:
        return inputs
    # One group is only expanded, so it has to be made contiguous.
    keys, values = (for_each_head(x, heads).contiguous() for x in (memory.keys, memory.values))
    return inputs._replace(memory=memory._replace(keys=keys, values=values))


def dense_bias(inputs: HeadInputs) -> Tensor:
    """Return the sum of mask and positional term [B or 1, H or 1, T, S], for kernels that need one tensor."""
    dtype = inputs.queries.dtype
    bias = inputs.mask.additive(inputs.positioned.layout, inputs.memory.layout, dtype)
    return bias if inputs.positional is None else bias + inputs.positional.to(dtype)
