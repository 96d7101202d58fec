"""The decision whether the batches of a run have packed rows (`training.packing`)."""

from collections.abc import Iterable

import torch

from seqx.data.plan import TARGET
from seqx.data.store import Store
from seqx.errors import UserError
from seqx.interfaces.learning import Objective
from seqx.interfaces.networks import Model
from seqx.interfaces.task import Task
from seqx.storage.checkpoint_info import TrainingProgress
from seqx.training.config import Training

COLUMNS = {"source", TARGET}
"""The columns whose examples can be packed: they are read together, segment by segment."""


def packing_problem(model: Model, objective: Objective, task: Task) -> str | None:
    """Return the reason why the examples of a task cannot be packed; None if they can."""
    if not model.reads_packed_rows:
        return "the model cannot read several examples in a row"
    if not objective.reads_packed_rows:
        return "the objective cannot read several examples in a row"
    if task.resegments:
        return "the lengths of examples change, because the task encodes them again in each epoch"
    return _columns_problem(task.vocab_sizes.keys())


def _columns_problem(columns: Iterable[str]) -> str | None:
    names = {*columns}
    if names == COLUMNS:
        return None
    return f"the examples have the columns {', '.join(sorted(names))}, and only source and target are packed"


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
    problem = packing_problem(model, config.objective, task) or _columns_problem(store.columns.keys())
    if config.packing and problem:
        raise UserError(f"training.packing: {problem}; set it to null")
    return wanted and problem is None
