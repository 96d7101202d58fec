"""The decision whether the batches of a run have packed rows (`training.packing`)."""

import numpy as np
import torch

from seqx.data.plan import TARGET
from seqx.data.store import Store
from seqx.errors import UserError
from seqx.interfaces.learning import Objective
from seqx.interfaces.networks import Model
from seqx.interfaces.task import Task
from seqx.storage.checkpoint_info import TrainingProgress
from seqx.training.config import Training


def packing_problem(model: Model, objective: Objective, task: Task) -> str | None:
    """Return the reason why the examples of a task cannot be packed; None if they can."""
    if not model.reads_packed_rows:
        return "the model cannot read several examples in a row"
    if not objective.reads_packed_rows:
        return "the objective cannot read several examples in a row"
    if task.resegments:
        return "the lengths of examples change, because the task encodes them again in each epoch"
    return None


def _columns_problem(store: Store) -> str | None:
    """Return a problem if a further column does not have an id for each source token."""
    for name in store.columns.keys() - {TARGET}:
        has_ids = store.columns[name].has_ids
        if not has_ids or not np.array_equal(store.lengths(name), store.lengths("source")):
            return f"the column {name} does not have an id for each source token"
    return None


def has_packed_rows(
    config: Training,
    model: Model,
    task: Task,
    store: Store,
    *,
    device: torch.device,
    progress: TrainingProgress,
) -> bool:
    """Return true if the batches of a run have packed rows; a run that has begun does not change.

    Raises:
        UserError: the recipe requires packed rows, and the examples cannot be packed
    """
    if progress.step:
        return progress.packed
    wanted = device.type == "cuda" if config.packing is None else config.packing
    problem = packing_problem(model, config.objective, task) or _columns_problem(store)
    if config.packing and problem:
        raise UserError(f"training.packing: {problem}; set it to null")
    return wanted and problem is None
