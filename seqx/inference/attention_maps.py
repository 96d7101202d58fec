"""Attention weights of a model while it reads an input and writes an output.

Letters in shapes: B sentences, S source tokens, T target tokens, H heads, Q queries, K keys.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqx.interfaces.networks import Attention, Model
from seqx.interfaces.tensors import PAD, Batch, Column
from seqx.plugin.notebook import notebook_html


@dataclass(frozen=True)
class AttentionMap:
    """The weights of one attention module."""

    queries: str  # the sequence of the queries: source, target, or text (both as one sequence)
    keys: str  # the sequence of the keys: source, target or text
    weights: Tensor  # [B, H, Q, K], float32


@dataclass(frozen=True, repr=False)
class AttentionMaps:
    """The weights of all attention modules of a model for one input and one output.

    A map has the attributes `weights` [B, H, Q, K], and `queries` and `keys`, which name the sequence of
    each: "source", "target", or "text" for both as one sequence.
    """

    source: Sequence[str]  # the symbols of the source
    target: Sequence[str]  # the symbols of the target, EOS last
    maps: Mapping[str, AttentionMap]  # by the name of the module, in the order of the calls

    def __repr__(self) -> str:
        """Return the number of maps and of symbols; the weights are too long."""
        return (
            f"<seqx.AttentionMaps: {len(self.maps)} maps, {len(self.source)} by {len(self.target)} symbols>"
        )

    def _repr_html_(self) -> str | None:
        return notebook_html(self)

    @property
    def query_symbols(self) -> Mapping[str, Sequence[str]]:
        """The symbol of each row of a map, by the sequence of its queries."""
        return {"source": self.source, "target": self.target, "text": [*self.source[1:], *self.target]}

    @property
    def key_symbols(self) -> Mapping[str, Sequence[str]]:
        """The symbol of each column of a map, by the sequence of its keys."""
        inputs = self.target[:-1]  # of the decoder, which begins with BOS
        return {"source": self.source, "target": ["<s>", *inputs], "text": [*self.source, *inputs]}


@contextmanager
def record_attention(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Record the weights [B, H, Q, K] of all attention modules of a model while the block runs.

    The dictionary maps the name of each module to its weights. If a module is called several times, each time
    with new queries, its weights are concatenated along the queries. A module whose `weights` returns None
    has no entry.
    """
    recorded: dict[str, Tensor] = {}

    def record(name: str) -> Any:
        def hook(attention: Attention, args: tuple[Any, ...], kwargs: dict[str, Any], _: Tensor) -> None:
            weights = attention.weights(*args, **kwargs)
            if weights is not None:
                earlier, weights = recorded.get(name), weights.detach().float()
                recorded[name] = weights if earlier is None else torch.cat(_pad_keys(earlier, weights), 2)

        return hook

    handles = [
        module.register_forward_hook(record(name), with_kwargs=True)
        for name, module in model.named_modules()
        if isinstance(module, Attention)
    ]
    try:
        yield recorded
    finally:
        for handle in handles:
            handle.remove()


def attention_maps(model: Model, batch: Batch) -> Mapping[str, AttentionMap]:
    """Return the weights of each attention module while a model reads a source [B, S] and a target [B, T].

    The keys of the result are module names, in the order of the calls. In a map whose queries are the target,
    row i has the weights with which the model predicted target token i. In a map whose keys are the target,
    column j belongs to input token j of the decoder: BOS is token 0, and target token j - 1 is token j.

    A model with `single_sequence`, such as a language model, has maps of one text instead: the source and the
    target without its last token. Row i has the weights with which the model predicted the token after
    token i. Attention between other sequences has no map.
    """
    source, target = batch.columns["source"], batch.columns["target"]
    target_length = target.values.size(1)
    # The code below recognises source and target by their lengths. If they are equal, pad the target.
    if target_length == source.values.size(1):
        keep = F.pad(target.layout.keep, (0, 1), value=False)
        target = Column(F.pad(target.values, (0, 1), value=PAD), type(target.layout).of(keep))
    source_width, target_width = source.values.size(1), target.values.size(1)
    sequences = {source_width: "source", target_width: "target"}
    if model.single_sequence and source_width > 1:  # if the source is only BOS, the target is the whole text
        sequences = {source_width + target_width - 1: "text"}
    with record_attention(model) as recorded:
        model(Batch({**batch.columns, "target": target}, batch.count))
    lengths = {"source": source_width, "target": target_length, "text": source_width + target_length - 1}
    maps = {}
    for name, weights in recorded.items():
        queries, keys = (sequences.get(width) for width in weights.shape[2:])
        if queries and keys:
            maps[name] = AttentionMap(queries, keys, weights[:, :, : lengths[queries], : lengths[keys]])
    return maps


def _pad_keys(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Pad two tensors of weights with zeros to the same number of keys."""
    width = max(first.size(3), second.size(3))
    return F.pad(first, (0, width - first.size(3))), F.pad(second, (0, width - second.size(3)))
