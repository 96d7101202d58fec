"""The Transformer's encoder and decoder.

Letters in shapes: B sentences, S source tokens, T target tokens, D = d_model.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn

import seqx
from seqx_transformer.attention import MultiHeadAttention, StackPositions
from seqx_transformer.initialisation import Initialisation, Xavier
from seqx_transformer.layers import (
    DecoderShared,
    Dropout,
    FeedForward,
    LayerNorm,
    Norm,
    NormOrder,
    Past,
    ReLU,
    Residual,
    Sinusoidal,
    TransformerDecoderLayer,
    TransformerEncoderLayer,
)
from seqx_transformer.slots import TransformerSlots, TransformerState
from seqx_transformer.specification import describe_stack
from seqx_transformer.static_slots import MAX_COLUMNS, StaticSlots
from seqx_transformer.weights import cast_weights, project_source


class TransformerStack(nn.Module):
    """Base class of the Transformer's encoder and decoder.

    Attributes of stacks and layers that hold modules must keep their names: the names of the weights in saved
    models consist of them.
    """

    renamed: ClassVar[Mapping[str, str]] = {"norm_place": "norm_order", "residual": "residual_scale"}

    d_model: int
    layers: seqx.Layers[Any]

    def _complete(
        self,
        attentions: Sequence[seqx.Attention],
        *,
        positions: seqx.Make[seqx.PositionalEncoding],
        initialisation: seqx.Make[Initialisation],
        norm: seqx.Make[Norm],
        norm_order: NormOrder,
        dropout: float,
    ) -> None:
        """Initialise the weights of the layers; add positions, dropout and, with pre-norm, the final norm."""
        initialisation()(self.layers)
        self.positions = StackPositions(positions, self.d_model, attentions)
        self.limit = self.positions.limit
        self.dropout = Dropout(dropout)
        # With post-norm the last layer ends with a norm already.
        self.norm = norm(self.d_model) if norm_order == "pre" else nn.Identity()

    def _embed(self, inputs: Tensor, layout: seqx.Layout) -> Tensor:
        """Return the input [B, T, D] of the first layer: embeddings with positions and dropout."""
        return self.dropout(self.positions.embed(inputs, layout))

    def _cast_weights(self, layer: nn.Module, x: Tensor) -> AbstractContextManager[None]:
        """Return a context in which a layer is called with x; on a GPU it may cast the layer's weights."""
        return nullcontext() if x.device.type == "cpu" else cast_weights(layer, x)


class TransformerEncoder(TransformerStack, seqx.Encoder):
    """Layers of self-attention and feed-forward (Vaswani et al. 2017, section 3.1).

    With pre-norm, a norm follows the last layer.

    Args:
        layers: number of layers
        attention: self-attention of each layer; a list names one for each layer
        feedforward: feed-forward network of each layer
        positions: positional encoding
        dropout: dropout probability of each sub-layer's output and of the embeddings (section 5.4)
        norm: norm of each sub-layer
        norm_order: order of norm and sub-layer; post: norm after the residual sum, as in the paper; pre: norm
            before the sub-layer
        residual_scale: factor of a sub-layer's input in the residual sum: alpha of DeepNorm
        initialisation: initial weights of the linear maps

    Raises:
        ValueError: the list of attentions does not have one entry for each layer
    """

    def __init__(
        self,
        d_model: int,
        *,
        layers: Annotated[int, Gt(0)] = 6,
        attention: seqx.Make[seqx.Attention] | list[seqx.Make[seqx.Attention]] = MultiHeadAttention,
        feedforward: seqx.Make[FeedForward] = ReLU,
        positions: seqx.Make[seqx.PositionalEncoding] = Sinusoidal,
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.1,
        norm: seqx.Make[Norm] = LayerNorm,
        norm_order: Literal["post", "pre"] = "post",
        residual_scale: Annotated[float, Gt(0)] = 1.0,
        initialisation: seqx.Make[Initialisation] = Xavier,
    ) -> None:
        super().__init__(d_model)
        residual = partial(Residual, norm, d_model, norm_order, dropout, residual_scale)
        attentions = [make(d_model) for make in seqx.per_layer(attention, layers, "attention")]
        self.layers: seqx.Layers[TransformerEncoderLayer] = seqx.Layers(
            TransformerEncoderLayer(self_attention, feedforward(d_model), residual(), residual())
            for self_attention in attentions
        )
        self._complete(
            attentions,
            positions=positions,
            initialisation=initialisation,
            norm=norm,
            norm_order=norm_order,
            dropout=dropout,
        )

    @property
    def reads_packed_rows(self) -> bool:
        """True if all attentions can read packed rows."""
        return all(layer.attention.reads_packed_rows for layer in self.layers)

    def forward(self, inputs: Tensor, layout: seqx.Layout) -> Tensor:
        """Map embeddings [B, S, D] to states [B, S, D]."""
        x = self._embed(inputs, layout)
        mask = seqx.Mask().share(layout, layout)
        for layer, positioned in zip(self.layers, self.positions.positioned(layout), strict=True):
            layer.attention.prepare(x, positioned, layout, mask)
            with self._cast_weights(layer, x):
                x = layer(x, positioned, mask)
        return self.norm(x)

    def specification(self) -> seqx.StackSpec:
        """Return a description of the stack for exporters."""
        return describe_stack(self)


class TransformerDecoder(TransformerStack, seqx.Decoder):
    """The Transformer's decoder (Vaswani et al. 2017, section 3.1), or a language model without a source.

    Each layer has causal self-attention, cross-attention and feed-forward. With pre-norm, a norm follows the
    last layer.

    Args:
        layers: number of layers
        attention: self-attention of each layer; a list names one for each layer
        cross_attention: cross-attention of each layer, to the source; the same as `attention` if left out
        use_source: add cross-attention to a source; false for a language model
        feedforward: feed-forward network of each layer
        positions: positional encoding of self-attention
        dropout: dropout probability of each sub-layer's output and of the embeddings (section 5.4)
        norm: norm of each sub-layer
        norm_order: order of norm and sub-layer; post: norm after the residual sum, as in the paper; pre: norm
            before the sub-layer
        residual_scale: factor of a sub-layer's input in the residual sum: alpha of DeepNorm
        initialisation: initial weights of the linear maps

    Raises:
        ValueError: a list of attentions does not have one entry for each layer; the cross-attention works
            within one sequence only; `cross_attention` is set and `use_source` is false
    """

    source_setting = "use_source"
    renamed: ClassVar[Mapping[str, str]] = {**TransformerStack.renamed, "cross": "use_source"}

    def __init__(
        self,
        d_model: int,
        *,
        layers: Annotated[int, Gt(0)] = 6,
        attention: seqx.Make[seqx.Attention] | list[seqx.Make[seqx.Attention]] = MultiHeadAttention,
        cross_attention: seqx.Make[seqx.Attention] | list[seqx.Make[seqx.Attention]] | None = None,
        use_source: bool = True,
        feedforward: seqx.Make[FeedForward] = ReLU,
        positions: seqx.Make[seqx.PositionalEncoding] = Sinusoidal,
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.1,
        norm: seqx.Make[Norm] = LayerNorm,
        norm_order: Literal["post", "pre"] = "post",
        residual_scale: Annotated[float, Gt(0)] = 1.0,
        initialisation: seqx.Make[Initialisation] = Xavier,
    ) -> None:
        super().__init__(d_model)
        if cross_attention is not None and not use_source:
            raise ValueError("cross_attention is set without a source; remove it, or set use_source: true")
        self.uses_source = use_source
        residual = partial(Residual, norm, d_model, norm_order, dropout, residual_scale)
        attentions = [make(d_model) for make in seqx.per_layer(attention, layers, "attention")]
        if cross_attention is None:
            cross_attention = attention
        cross_attentions = [
            make(d_model) if use_source else None
            for make in seqx.per_layer(cross_attention, layers, "cross_attention")
        ]
        for source_attention in cross_attentions:
            if source_attention is not None:
                source_attention.check(None)
        self.layers: seqx.Layers[TransformerDecoderLayer] = seqx.Layers(
            TransformerDecoderLayer(
                self_attention,
                source_attention,
                feedforward(d_model),
                residual(),
                residual() if use_source else None,
                residual(),
            )
            for self_attention, source_attention in zip(attentions, cross_attentions, strict=True)
        )
        self._complete(
            attentions,
            positions=positions,
            initialisation=initialisation,
            norm=norm,
            norm_order=norm_order,
            dropout=dropout,
        )

    def start(self, memory: seqx.Memory | None, batch: int, capacity: int | None) -> TransformerState:
        """Project the source once; return the state before the first token.

        The cached keys and values grow with each token, so `capacity` is not used.
        """
        lengths = torch.zeros(batch, dtype=torch.int64, device=next(self.parameters()).device)
        if not self.uses_source:
            return TransformerState(lengths, None, None, None)
        assert memory is not None, "check() guarantees a source"
        attentions = [each.cross_attention for each in self.layers if each.cross_attention is not None]
        source = None if memory.states.device.type == "cpu" else project_source(attentions, memory)
        if source is None:
            states, unordered = memory.states, seqx.Positioned.unordered(memory.layout)
            source = tuple(attention.project(states, states, unordered) for attention in attentions)
        return TransformerState(lengths, None, None, source)

    def forward(
        self, inputs: Tensor, state: TransformerState, keep: Tensor | None
    ) -> tuple[Tensor, TransformerState]:
        """Advance by embeddings [B, T, D]; return outputs [B, T, D] and the state after them."""
        if keep is None:
            keep = torch.ones(inputs.shape[:2], dtype=torch.bool, device=inputs.device)
        return self._advance(inputs, state, seqx.Layout.of(keep, state.lengths))

    @property
    def reads_packed_rows(self) -> bool:
        """True if all attentions can read packed rows, and no subclass has its own `forward`."""
        return type(self).forward is TransformerDecoder.forward and all(
            attention is None or attention.reads_packed_rows
            for layer in self.layers
            for attention in (layer.attention, layer.cross_attention)
        )

    def read(self, inputs: Tensor, memory: seqx.Memory | None, layout: seqx.Layout) -> Tensor:
        """Return the outputs [B, T, D] of rows that hold several sequences."""
        return self._advance(inputs, self.start(memory, len(inputs), None), layout)[0]

    def _advance(
        self, inputs: Tensor, state: TransformerState, layout: seqx.Layout
    ) -> tuple[Tensor, TransformerState]:
        """Advance by embeddings [B, T, D] with a layout."""
        keys = layout if state.layout is None else state.layout.extend(layout)
        source_mask = seqx.Mask()
        if state.source:
            source_mask = source_mask.share(layout, state.source[0].layout)
        target_mask = seqx.Mask(causal=True, by_index=keys is layout).share(layout, keys)
        shared = DecoderShared(keys, target_mask, source_mask)
        outputs, extended = self.decode(inputs, layout, state.past, state.source, shared)
        return outputs, TransformerState(state.lengths + layout.keep.sum(1), keys, extended, state.source)

    def slots(self, state: TransformerState, hypotheses: int, capacity: int | None) -> seqx.Slots:
        """Return slots whose caches are written in place; on a GPU, if possible, with steps of one shape."""
        on_gpu, options = state.lengths.device.type == "cuda", {"hypotheses": hypotheses}
        if on_gpu and state.source is not None and capacity and hypotheses * capacity <= MAX_COLUMNS:
            return StaticSlots(self, len(self.layers), state, state.source, capacity=capacity, **options)
        return TransformerSlots(self, len(self.layers), state, capacity=capacity, **options)

    def specification(self) -> seqx.StackSpec:
        """Return a description of the stack for exporters."""
        return describe_stack(self)

    def decode(
        self,
        x: Tensor,
        layout: seqx.Layout,
        past: Sequence[Past] | None,
        source: Sequence[seqx.KeyValue] | None,
        shared: DecoderShared,
    ) -> tuple[Tensor, tuple[seqx.KeyValue, ...]]:
        """Run the layers; return the outputs [B, T, D] and, for each layer, all keys and values.

        Args:
            x: embeddings [B, T, D]
            layout: the layout of the embeddings
            past: the keys and values of earlier tokens, for each layer; None: there are none
            source: the keys and values of the source, for each layer; None: there is no source
            shared: the layout of all keys, and the masks
        """
        x = self._embed(x, layout)
        extended = []
        for i, positioned in enumerate(self.positions.positioned(layout)):
            layer = self.layers[i]
            source_of_layer = None if source is None else source[i]
            layer.prepare(x, positioned, source_of_layer, shared)
            with self._cast_weights(layer, x):
                x, keys = layer(x, positioned, None if past is None else past[i], source_of_layer, shared)
            extended.append(keys)
        return self.norm(x), tuple(extended)
