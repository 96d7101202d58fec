"""Where the attentions of a model look.

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
    """What one attention took of each place that it could look at, while a model read and wrote."""

    queries: str  # what looked: source or target; text, where both are one sequence
    keys: str  # what was looked at
    weights: Tensor  # [B, H, Q, K], float32


@dataclass(frozen=True)
class AttentionMaps:
    """Where a model looked while it read one input and wrote one answer to it."""

    source: Sequence[str]  # what people call each token that was read
    target: Sequence[str]  # what people call each token that was written, EOS last
    maps: Mapping[str, AttentionMap]  # by the names of the attentions, in the order in which they look


@contextmanager
def record_attention(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """The weights [B, H, Q, K] of a model's attentions, by the names of the modules, while the block runs.

    An attention that is asked several times, for further queries each time, has them all. One that has no
    weights is left out.
    """
    seen: dict[str, Tensor] = {}

    def watch(name: str) -> Any:
        def hook(attention: Attention, given: tuple[Any, ...], named: dict[str, Any], _: Tensor) -> None:
            weights = attention.weights(*given, **named)
            if weights is not None:
                before, now = seen.get(name), weights.detach().float()
                seen[name] = now if before is None else torch.cat(_as_wide(before, now), 2)

        return hook

    handles = [
        module.register_forward_hook(watch(name), with_kwargs=True)
        for name, module in model.named_modules()
        if isinstance(module, Attention)
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def attention_maps(model: Model, source: Tokens, target: Tokens) -> Mapping[str, AttentionMap]:
    """Where each attention looks while a model reads the source [B, S] and writes the target [B, T].

    By the names of the modules, in the order in which they look. A row of the target is the token that was
    written, a column of it the token that had been written before, BOS first. For a model that goes on from
    its source the two are one text: a row is the token that came next, a column one that was there before.
    What looks at other things is left out.
    """
    width = target.ids.size(1)
    if width == source.ids.size(1):  # one place more, to tell the two apart by their widths
        more = F.pad(target.layout.keep, (0, 1), value=False)
        target = Tokens(F.pad(target.ids, (0, 1), value=PAD), type(target.layout).of(more))
    read, written = source.ids.size(1), target.ids.size(1)
    columns = {read: "source", written: "target"}
    if model.single_sequence and read > 1:  # behind a source of BOS alone the target is all of the text
        columns = {read + written - 1: "text"}
    with record_attention(model) as reading:
        memory = model.encode(source)
    with record_attention(model) as going_on:
        ids = F.pad(target.ids[:, :-1], (1, 0), value=BOS)
        model.advance(ids, model.start(memory, ids.size(1)), target.layout.keep)
    cut = {"source": read, "target": width, "text": read + width - 1}
    found = {}
    for name, weights in [*reading.items(), *going_on.items()]:
        queries, keys = (columns.get(size) for size in weights.shape[2:])
        if queries and keys:
            found[name] = AttentionMap(queries, keys, weights[:, :, : cut[queries], : cut[keys]])
    return found


def _as_wide(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Both with as many keys as the one that has more."""
    most = max(one.size(3), other.size(3))
    first, second = (F.pad(x, (0, most - x.size(3))) for x in (one, other))
    return first, second
