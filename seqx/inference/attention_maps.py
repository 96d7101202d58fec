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
from seqx.interfaces.values import BOS, PAD, Tokens


@dataclass(frozen=True)
class AttentionMap:
    """The weights of one attention."""

    queries: str  # the sequence of the queries: source or target; text, if both are one sequence
    keys: str  # the sequence of the keys
    weights: Tensor  # [B, H, Q, K], float32


@dataclass(frozen=True)
class AttentionMaps:
    """The weights of all attentions of a model for one input and one output."""

    source: Sequence[str]  # the symbols of the source
    target: Sequence[str]  # the symbols of the target, EOS last
    maps: Mapping[str, AttentionMap]  # by the names of the attention modules, in the order of their calls


@contextmanager
def record_attention(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Record the weights [B, H, Q, K] of all attentions of a model while the block runs.

    The dictionary has them by module name. An attention that is called several times, for further queries
    each time, has all its weights in one tensor. An attention without weights has no entry.
    """
    recorded: dict[str, Tensor] = {}

    def record(name: str) -> Any:
        def hook(attention: Attention, args: tuple[Any, ...], kwargs: dict[str, Any], _: Tensor) -> None:
            weights = attention.weights(*args, **kwargs)
            if weights is not None:
                before, new = recorded.get(name), weights.detach().float()
                recorded[name] = new if before is None else torch.cat(_pad_keys(before, new), 2)

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


def attention_maps(model: Model, source: Tokens, target: Tokens) -> Mapping[str, AttentionMap]:
    """Return the weights of each attention while a model reads source [B, S] and writes target [B, T].

    The keys are module names, in the order of the calls. A row of the target is a token that was written; a
    column of it is a token that had been written before, BOS first. A model of single sequences (a language
    model) has one text instead: a row is the next token, and a column is a token before it. Attentions
    between other sequences are left out.
    """
    target_length = target.ids.size(1)
    if target_length == source.ids.size(1):  # pad the target, because widths tell source and target apart
        keep = F.pad(target.layout.keep, (0, 1), value=False)
        target = Tokens(F.pad(target.ids, (0, 1), value=PAD), type(target.layout).of(keep))
    source_width, target_width = source.ids.size(1), target.ids.size(1)
    sequences = {source_width: "source", target_width: "target"}
    if model.single_sequence and source_width > 1:  # if the source is only BOS, the target is the whole text
        sequences = {source_width + target_width - 1: "text"}
    with record_attention(model) as reading:
        memory = model.encode(source)
    with record_attention(model) as writing:
        ids = F.pad(target.ids[:, :-1], (1, 0), value=BOS)
        model.advance(ids, model.start(memory, ids.size(1)), target.layout.keep)
    lengths = {"source": source_width, "target": target_length, "text": source_width + target_length - 1}
    maps = {}
    for name, weights in [*reading.items(), *writing.items()]:
        queries, keys = (sequences.get(width) for width in weights.shape[2:])
        if queries and keys:
            maps[name] = AttentionMap(queries, keys, weights[:, :, : lengths[queries], : lengths[keys]])
    return maps


def _pad_keys(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Pad the keys of the narrower of two tensors of weights."""
    width = max(one.size(3), other.size(3))
    first, second = (F.pad(weights, (0, width - weights.size(3))) for weights in (one, other))
    return first, second
