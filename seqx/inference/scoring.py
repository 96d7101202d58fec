"""Log-probabilities of the tokens of targets, such as references."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from seqx.data.batches import collate, split_into_microbatches
from seqx.data.ragged import Ragged
from seqx.errors import UserError
from seqx.interfaces.networks import Model
from seqx.interfaces.task import Values
from seqx.runtime.devices import BatchShrinker

_BATCH_TOKENS = 4096
"""The maximum padded tokens of a batch."""


def token_logprobs(
    model: Model,
    examples: Sequence[Mapping[str, Values]],
    *,
    device: torch.device,
    before_batch: Callable[[], None] = lambda: None,
) -> list[list[float]]:
    """Return the natural log-probability of each token of each example's target, given its source.

    The caller puts the model into evaluation mode and turns gradients off.

    Args:
        model: the model, on `device`
        examples: the columns of each example
        device: the device of the model
        before_batch: called before each batch. It may raise an exception to end the work.

    Raises:
        UserError: a single example runs out of memory
    """
    values: list[list[float]] = [[] for _ in examples]
    if not examples:
        return values
    order = sorted(range(len(examples)), key=lambda i: len(examples[i]["target"]))
    columns = {name: Ragged.of_rows([examples[i][name] for i in order]) for name in examples[0]}

    shrinker = BatchShrinker(device)
    try:
        for rows in split_into_microbatches(columns, _BATCH_TOKENS, 0, 1):
            before_batch()
            for part, attempt in shrinker.parts(rows.tolist()):
                with attempt:
                    batch = collate({name: column.take(np.array(part)) for name, column in columns.items()})
                    scores = model.score(batch.to(device)).double().tolist()
                    for row, tokens in zip(part, scores, strict=True):
                        values[order[row]] = tokens[: len(examples[order[row]]["target"])]
    except torch.OutOfMemoryError:
        raise UserError(
            f"{device} ran out of memory with a single example; make the model smaller, or leave out long "
            "examples (set a smaller task.max_length if the task has this setting)"
        ) from None
    return values
