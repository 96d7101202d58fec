"""The batches of updates whose rows hold several examples (see `packing`)."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from seqx.data.loader import Microbatch, Position, UpdateBatch
from seqx.data.plan import TARGET, Plan
from seqx.data.ragged import Integers, Ragged
from seqx.interfaces.tensors import WORDS, Batch, Column, Layout


def packed_update(
    columns: Mapping[str, Ragged],
    plan: Plan,
    position: Position,
    *,
    microbatch: int | None,
    rank: int,
    world_size: int,
    pin: bool,
) -> UpdateBatch:
    """Return the batch of one rank for an update.

    Args:
        columns: the columns of all examples
        plan: the plan of the update's epoch
        position: the update
        microbatch: maximum padded tokens per microbatch; None: a single microbatch
        rank: rank of the process among those that share the update
        world_size: number of these processes
        pin: put the tensors into pinned memory
    """
    assert plan.row_lengths is not None, "the plan has packed rows"
    row_lengths = {name: int(lengths[position.index]) for name, lengths in plan.row_lengths.items()}
    groups = plan.example_groups(position.index)
    own = groups[rank::world_size]
    count = len(own) if microbatch is None else microbatch // max(row_lengths.values())
    count = max(1, count)  # a rank may have no rows
    microbatches = [
        pack(columns, own[start : start + count], row_lengths, pin=pin) for start in range(0, len(own), count)
    ]
    layouts = [column.layout.keep for each in microbatches for column in each.batch.columns.values()]
    padded_tokens = sum(keep.numel() for keep in layouts)
    return UpdateBatch(
        position=position,
        microbatches=microbatches,
        target_tokens=plan.num_target_tokens(position.index),
        token_fraction=sum(int(keep.sum()) for keep in layouts) / max(1, padded_tokens),
        dummy=pack(columns, groups[:1], row_lengths, pin=pin) if world_size > 1 else None,
    )


def pack(
    columns: Mapping[str, Ragged], groups: Sequence[Integers], row_lengths: Mapping[str, int], *, pin: bool
) -> Microbatch:
    """Return a microbatch with a row of a given length for each group of examples.

    Args:
        columns: the columns of all examples
        groups: the indices of the examples of each row
        row_lengths: the length of a row in each column
        pin: put the tensors into pinned memory
    """
    examples, sizes = np.concatenate(groups), np.array([len(group) for group in groups])
    row_of = np.repeat(np.arange(len(groups)), sizes)
    segment_of = np.arange(len(examples)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    tensors = {
        name: _packed_column(column.take(examples), row_of, segment_of, (len(groups), row_lengths[name]))
        for name, column in columns.items()
    }
    if WORDS in tensors:
        source, starts = tensors["source"], tensors.pop(WORDS).values
        words = source.layout._replace(words=starts.cumsum(1) - 1)
        tensors["source"] = source._replace(layout=words)
    if pin:
        tensors = {name: column.pinned() for name, column in tensors.items()}
    return Microbatch(Batch(tensors, int(tensors[TARGET].layout.keep.sum())), examples)


def _packed_column(column: Ragged, row_of: Integers, segment_of: Integers, shape: tuple[int, int]) -> Column:
    """Return a column [R, L] with the tokens of consecutive examples in the same row next to each other."""
    lengths = column.lengths()
    ends = np.cumsum(lengths)
    positions = np.arange(len(column.values)) - np.repeat(ends - lengths, lengths)
    per_row = np.bincount(row_of, lengths, shape[0]).astype(np.int64)
    keep = np.arange(shape[1]) < per_row[:, None]
    values, all_positions, segments = (np.zeros(shape, np.int64) for _ in range(3))
    values[keep], all_positions[keep], segments[keep] = (
        column.values,
        positions,
        np.repeat(segment_of, lengths),
    )
    layout = Layout(*map(torch.from_numpy, (keep, all_positions, segments)))
    return Column(torch.from_numpy(values), layout)
