"""How surprised a model is by a split."""

import math
from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch

from seqx.data.batches import pack, split
from seqx.data.store import Ragged
from seqx.devices import autocast
from seqx.interfaces.networks import Model
from seqx.interfaces.text import Task
from seqx.interfaces.values import Batch, Example

_PLACES = 4096


def perplexity(
    model: Model, task: Task, name: str, *, device: torch.device, precision: Literal["bf16", "fp32"]
) -> float | None:
    """The exponential of the mean negative log-probability of a target token; None: there is nothing to read.

    EOS counts as a token. Examples that are too long for the model are left out. Comparable between models of
    one vocabulary only.
    """
    total, count = 0.0, 0
    model.eval()
    with torch.inference_mode(), autocast(device, precision):
        for batch in _batches(task, name, model.limit):
            columns = batch.to(device).columns
            total -= float(model.score(columns["source"], columns["target"]).sum())
            count += batch.count
    return math.exp(total / count) if count else None


def _batches(task: Task, name: str, limit: int | None) -> Iterator[Batch]:
    examples = [task.example(row, training=False) for row in task.rows(name)]
    kept = [
        example.columns
        for example in examples
        if isinstance(example, Example)
        and (limit is None or max(map(len, example.columns.values())) <= limit)
    ]
    if not kept:
        return
    kept.sort(key=lambda columns: len(columns["target"]))
    columns = {
        column: Ragged.of(
            np.concatenate([np.array(example[column], np.int64) for example in kept]),
            np.array([len(example[column]) for example in kept], np.int64),
        )
        for column in kept[0]
    }
    for rows in split(columns, _PLACES, 0, 1):
        yield pack({column: values.take(rows) for column, values in columns.items()})
