"""How probable a model finds given targets."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
import torch

from seqx.data.batches import collate, split_into_microbatches
from seqx.data.store import Ragged
from seqx.errors import UserError
from seqx.inference.out_of_memory import Fitting
from seqx.interfaces.networks import Model
from seqx.runtime.devices import autocast

_PLACES = 4096

Columns = Mapping[str, Sequence[int]]
"""The columns of an example."""


def logprobs(
    model: Model,
    examples: Sequence[Columns],
    *,
    device: torch.device,
    precision: Literal["bf16", "fp32"],
    between: Callable[[], None] = lambda: None,
) -> list[float]:
    """The natural log-probability of each example's whole target, given its source.

    Args:
        model: scores
        examples: what is scored
        device: where the model is
        precision: of matrix products
        between: called before each batch

    Raises:
        UserError: the device has too little memory for one example
    """
    found = [0.0] * len(examples)
    if not examples:
        return found
    order = sorted(range(len(examples)), key=lambda i: len(examples[i]["target"]))
    columns = {name: _ragged([examples[i][name] for i in order]) for name in examples[0]}

    def score(rows: Sequence[int]) -> list[float]:
        batch = collate({name: values.take(np.array(rows)) for name, values in columns.items()}).to(device)
        return model.score(batch.columns["source"], batch.columns["target"]).double().sum(1).tolist()

    training, fit = model.training, Fitting(device)
    model.eval()
    try:
        # Not inference_mode, in which autocast casts a weight again each time that it is used.
        with torch.no_grad(), autocast(device, precision):
            for rows in split_into_microbatches(columns, _PLACES, 0, 1):
                between()
                for part, values in fit(rows.tolist(), score):
                    for row, value in zip(part, values, strict=True):
                        found[order[row]] = value
    except torch.OutOfMemoryError:
        raise UserError(
            f"{device} has too little memory for a single example; make the model smaller, or leave out long "
            "examples (the task's setting `longest`, where it has one)"
        ) from None
    finally:
        model.train(training)
    return found


def _ragged(rows: Sequence[Sequence[int]]) -> Ragged:
    return Ragged.of(
        np.concatenate([np.array(row, np.int64) for row in rows]),
        np.array([len(row) for row in rows], np.int64),
    )
