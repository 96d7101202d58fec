"""Multi-head attention, the choice of its kernel, and the positions that the attentions of a stack share.

Letters in shapes: B sentences, T queries, S keys, D = d_model, H heads, K the width of a head's queries and
keys, V that of its values.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, cast

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn

import seqx
from seqx_transformer.kernels.cpu import PAIRS, Cpu
from seqx_transformer.kernels.kernel import (
    FEW,
    Eager,
    FewQueries,
    HeadInputs,
    Kernel,
    dense_bias,
    for_each_head,
    scores,
    with_repeated_groups,
)
from seqx_transformer.kernels.sdpa import Sdpa
from seqx_transformer.layers import Dropout


class MultiHeadAttention(seqx.Attention):
    """Scaled dot-product attention with several heads (Vaswani et al. 2017, section 3.2).

    Each head computes softmax(Q K^T / sqrt(d_k)) V, where Q, K and V are linear projections of the inputs.
    Another linear map combines the heads.

    Args:
        heads: number of heads; must divide d_model unless both d_k and d_v are set
        d_k: width of each head's queries and keys; d_model / heads if left out
        d_v: width of each head's values; d_model / heads if left out
        bias: add a bias in the linear maps
        dropout: dropout probability of the attention weights
        scaled: divide the scores by sqrt(d_k) (section 3.2.1)
        kernel: kernel that computes the heads; left out: the fastest for the device and the inputs

    Raises:
        ValueError: heads does not divide d_model, and d_k or d_v is left out
    """

    reads_packed_rows = True

    def __init__(
        self,
        d_model: int,
        *,
        heads: Annotated[int, Gt(0)] = 8,
        d_k: Annotated[int, Gt(0)] | None = None,
        d_v: Annotated[int, Gt(0)] | None = None,
        bias: bool = False,
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.0,
        scaled: bool = True,
        kernel: seqx.Make[Kernel] | None = None,
    ) -> None:
        super().__init__(d_model)
        if d_model % heads and (d_k is None or d_v is None):
            raise ValueError(f"heads ({heads}) must divide d_model ({d_model}), or set both d_k and d_v")
        self.heads = heads
        self.d_k = d_k or d_model // heads
        self.d_v = d_v or d_model // heads
        self.scale = self.d_k**-0.5 if scaled else 1.0
        self.query = nn.Linear(d_model, heads * self.d_k, bias)
        self.key: nn.Module = nn.Linear(d_model, heads * self.d_k, bias)
        self.value = nn.Linear(d_model, heads * self.d_v, bias)
        self.output = nn.Linear(heads * self.d_v, d_model, bias)
        self.dropout = Dropout(dropout)
        self.kernel = None if kernel is None else kernel()
        self.joined_weight: Tensor | None = None  # of `joined_parameters`, in the dtype of autocast
        self.joined_bias: Tensor | None = None
        base = MultiHeadAttention
        self._has_base_methods = type(self).project is base.project and type(self).forward is base.forward

    def project(self, keys: Tensor, values: Tensor, positioned: seqx.Positioned) -> seqx.KeyValue:
        """Return keys [B, H, S, K] and values [B, H, S, V], both projected from [B, S, D]."""
        k, v = split_heads(self.key(keys), self.heads), split_heads(self.value(values), self.heads)
        return seqx.KeyValue(positioned.key(k), v, positioned.layout)

    @property
    def joins_projections(self) -> bool:
        """True if `project_self` can compute one matrix product instead of three."""
        parts = (self.query, self.key, self.value)
        return self._has_base_methods and all(type(part) is nn.Linear for part in parts)

    def project_self(self, x: Tensor, positioned: seqx.Positioned) -> seqx.KeyValue:
        """Return queries [B, T, H K], keys and values of x [B, T, D]; or keys and values only.

        They come from one product if that is faster than three.
        """
        joined = self._joined(x) if self.joins_projections else None
        if joined is None:
            return super().project_self(x, positioned)
        widths = [self.heads * self.d_k, self.heads * self.d_k, self.heads * self.d_v]
        q, k, v = torch.split(F.linear(x, *joined), widths, -1)
        k = positioned.key(split_heads(k, self.heads))
        return seqx.KeyValue(k, split_heads(v, self.heads), positioned.layout, q)

    def _joined(self, x: Tensor) -> tuple[Tensor, Tensor | None] | None:
        """Return one weight and bias for all projections of x; None if three products are not slower.

        In training on a CPU, one product is not faster, and its results differ in the last bits. Without
        gradients, plain weights would be concatenated again for each token.
        """
        if self.joined_weight is not None:
            return self.joined_weight, self.joined_bias
        weights, biases = self.joined_parameters()
        if torch.is_grad_enabled():
            is_slower = x.device.type == "cpu"
            return None if is_slower else (torch.cat(weights), torch.cat(biases) if biases else None)
        first, *others = weights
        if not isinstance(first, seqx.PackedWeight):
            return None
        packed = first.join(others, biases)
        return None if packed is None else (packed.weight, packed.bias)

    def joined_parameters(self) -> tuple[list[Tensor], list[Tensor]]:
        """Return the weights of queries, keys and values, and their biases (empty if there are none)."""
        parts = [part for part in (self.query, self.key, self.value) if isinstance(part, nn.Linear)]
        return [part.weight for part in parts], [part.bias for part in parts if part.bias is not None]

    def forward(
        self, queries: Tensor, positioned: seqx.Positioned, memory: seqx.KeyValue, mask: seqx.Mask
    ) -> Tensor:
        """Attend from [B, T, D]; return [B, T, D]."""
        heads = self.attend(self.head_inputs(queries, positioned, memory, mask))  # [B, H, T, V]
        return self.output(heads.transpose(1, 2).flatten(2))  # [B, T, D]

    def weights(
        self, queries: Tensor, positioned: seqx.Positioned, memory: seqx.KeyValue, mask: seqx.Mask
    ) -> Tensor:
        """Return the attention weights [B, H, T, S] of queries [B, T, D], without dropout."""
        inputs = self.head_inputs(queries, positioned, memory, mask)
        return (scores(with_scaled_queries(inputs)) + dense_bias(inputs)).softmax(-1, torch.float32)

    def prepare(self, x: Tensor, positioned: seqx.Positioned, keys: seqx.Layout, mask: seqx.Mask) -> None:
        """Compute the tensor that the kernel reads from a shared mask."""
        kernel, encoding = self.kernel, positioned.encoding
        if kernel is None:
            is_eager = x.device.type == "cpu" or encoding.has_bias or encoding.has_value_term
            kernel = EAGER if is_eager or torch.are_deterministic_algorithms_enabled() else SDPA
        kernel.prepare(positioned.layout, keys, mask, x)

    def check(self, encoding: seqx.PositionalEncoding | None) -> None:
        """Check that the encoding supports the width of the heads.

        Raises:
            ValueError: it does not
        """
        if encoding is not None:
            encoding.check(self.d_k, self.d_v)

    def query_key_parameters(self) -> Iterable[nn.Parameter]:
        """Return the parameters of the query and key projections."""
        return (*self.query.parameters(), *self.key.parameters())

    def specification(self) -> seqx.AttentionSpec:
        """Return a description of the attention for exporters."""
        return self.dot_product(self.heads)

    def dot_product(self, groups: int) -> seqx.AttentionSpec:
        """Return the description of dot-product attention whose keys and values have `groups` heads."""
        query, key, value, output = (
            seqx.LinearSpec.of(cast("nn.Linear", part))
            for part in (self.query, self.key, self.value, self.output)
        )
        return seqx.AttentionSpec(
            heads=self.heads,
            groups=groups,
            scale=self.scale,
            query=query,
            key=key,
            value=value,
            output=output,
        )

    def attend(self, inputs: HeadInputs) -> Tensor:
        """Return softmax(scores + mask + positional term) V in each head: [B, H, T, V].

        Raises:
            seqx.UserError: the kernel that the recipe sets cannot compute these inputs
        """
        kernel = choose_kernel(self.kernel, inputs)
        inputs = inputs if kernel.applies_scale else with_scaled_queries(inputs)
        return kernel(inputs if kernel.reads_groups else with_repeated_groups(inputs))

    def head_inputs(
        self, queries: Tensor, positioned: seqx.Positioned, memory: seqx.KeyValue, mask: seqx.Mask
    ) -> HeadInputs:
        """Return the inputs of a kernel, for queries [B, T, D]."""
        q = self.query(queries) if memory.queries is None else memory.queries
        q, scale = positioned.query(split_heads(q, self.heads)), self.scale
        positional = None
        if positioned.encoding.has_bias:  # it is computed from scaled queries
            q, scale = q * scale, 1.0
            keys = for_each_head(memory.keys, self.heads)
            positional = positioned.bias(q, memory._replace(keys=keys))
        return HeadInputs(q, memory, positioned, mask, positional, self.dropout, scale=scale)


def with_scaled_queries(inputs: HeadInputs) -> HeadInputs:
    """Return the same inputs with scaled queries, so that `scale` is 1."""
    return inputs if inputs.scale == 1 else inputs._replace(queries=inputs.queries * inputs.scale, scale=1.0)


EAGER, SDPA, CPU, FEW_QUERIES = Eager(), Sdpa(), Cpu(), FewQueries()


def choose_kernel(setting: Kernel | None, inputs: HeadInputs) -> Kernel:
    """Return the kernel that computes the inputs: the one that is set, or the fastest for device and inputs.

    Raises:
        seqx.UserError: the kernel that is set cannot compute them
    """
    if setting is None:
        if inputs.queries.device.type != "cpu":
            return EAGER if SDPA.limitation(inputs) else SDPA
        queries = inputs.queries.size(2)
        if queries <= FEW and not torch.is_grad_enabled() and not FEW_QUERIES.limitation(inputs):
            return FEW_QUERIES
        pairs = queries * inputs.memory.keys.size(2)
        return CPU if pairs >= PAIRS and not CPU.limitation(inputs) else EAGER
    reason = setting.limitation(inputs)
    if reason:
        name = type(setting).__name__.lower()
        raise seqx.UserError(f"attention: the kernel {name} cannot be used: {reason}; remove the setting")
    return setting


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Split features [B, T, H K] into heads: [B, H, T, K]."""
    return x.view(*x.shape[:2], heads, x.size(2) // heads).transpose(1, 2)


class StackPositions(nn.Module):
    """The positional encoding of a stack, shared by its layers.

    If the layers have different numbers of heads, an encoding that acts in attention is built once for each
    of these numbers. Only the encoding of the first layer changes the embeddings.

    Args:
        make: builds the encoding
        d_model: width of the embeddings
        attentions: the self-attention of each layer

    Raises:
        ValueError: an attention does not support the encoding; or layers have different numbers of heads, and
            the encoding acts in attention and has learned parameters for embeddings
    """

    def __init__(
        self,
        make: Callable[..., seqx.PositionalEncoding],
        d_model: int,
        attentions: Sequence[seqx.Attention],
    ) -> None:
        super().__init__()
        first_heads, *other_heads = dict.fromkeys(attention.heads for attention in attentions)
        encoding = make(d_model, first_heads)
        self.encodings = nn.ModuleDict({str(first_heads): encoding})
        self._first_heads = first_heads
        for heads in other_heads if encoding.acts_in_attention else ():
            self.encodings[str(heads)] = make(d_model, heads)
            if _has_learned_embedding(self._encoding(heads)):
                raise ValueError(
                    "positions: this encoding acts in attention and also has learned parameters for "
                    f"embeddings; set the same number of heads in all layers, not {first_heads} and {heads}"
                )
        for attention in attentions:
            attention.check(self._encoding(attention.heads))
        self._layers = [self._name(attention.heads) for attention in attentions]

    @property
    def limit(self) -> int | None:
        """The largest number of positions that can be encoded; None: no limit."""
        return self.first.limit

    @property
    def first(self) -> seqx.PositionalEncoding:
        """The encoding of the first layer, which changes the embeddings."""
        return self._encoding(self._first_heads)

    def embed(self, x: Tensor, layout: seqx.Layout) -> Tensor:
        """Apply the encoding to embeddings [B, T, D].

        Under autocast the result has the dtype of autocast, and so has the whole residual stream. Otherwise
        each linear map of the stack would convert its input.
        """
        x = self.first.embed(x, layout.positions)
        device = x.device.type
        return x.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else x

    def positioned(self, layout: seqx.Layout) -> list[seqx.Positioned]:
        """Return, for each layer, the encoding for its number of heads and the layout of the tokens."""
        prepared = {
            name: seqx.Positioned(encoding.prepare(layout.positions), layout)
            for name, encoding in self._by_name.items()
        }
        return [prepared[name] for name in self._layers]

    @property
    def _by_name(self) -> Mapping[str, seqx.PositionalEncoding]:
        return cast("Mapping[str, seqx.PositionalEncoding]", self.encodings)

    def _name(self, heads: int) -> str:
        return str(heads if str(heads) in self.encodings else self._first_heads)

    def _encoding(self, heads: int) -> seqx.PositionalEncoding:
        return self._by_name[self._name(heads)]


@torch.enable_grad()
def _has_learned_embedding(encoding: seqx.PositionalEncoding) -> bool:
    """Return true if the encoding has learned parameters that change embeddings."""
    positions = torch.zeros(1, 1, dtype=torch.int64)
    return encoding.embed(torch.zeros(1, 1, encoding.d_model), positions).requires_grad
