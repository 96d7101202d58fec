"""Select the weights that become the model: the average, the last or the best checkpoint."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from torch import Tensor

from seqx.interfaces.scores import Evaluation
from seqx.parallel import World
from seqx.storage.checkpoints import Checkpoints
from seqx.storage.weights import WEIGHTS, average, read_weights
from seqx.training.candidates import WeightsCandidate, best_first, candidates, write_compared
from seqx.training.config import Training
from seqx.training.validation import Validator


class WriteModel(Protocol):
    """A function that writes a model folder."""

    def __call__(self, folder: Path, weights: Mapping[str, Tensor], *, steps: Sequence[int]) -> None:
        """Write `weights`, the mean of the checkpoints of `steps`, and all other files of a model."""


def select_model(
    config: Training,
    checkpoints: Checkpoints,
    validator: Validator,
    world: World,
    *,
    folder: Path,
    write_model: WriteModel,
    warn: Callable[[str], None],
) -> Evaluation | None:
    """Write the best candidate as the model, and load its weights into the validator's model.

    Args:
        config: determines which checkpoints are averaged, and by which score candidates are compared
        checkpoints: the checkpoints of the run
        validator: scores a candidate on the development set, if it has no score yet
        world: the ranks; rank 0 writes
        folder: the model folder
        write_model: writes the model folder
        warn: called with a message about each damaged checkpoint

    Returns:
        the evaluation of the model on the development set, if it was computed here
    """

    def write_and_load(steps: Sequence[int]) -> None:
        if world.is_rank_zero:
            mean = average([checkpoints.path(step) / WEIGHTS for step in steps])
            write_model(folder, mean, steps=steps)
        world.barrier()
        read_weights(validator.model, folder / WEIGHTS)

    compared = world.broadcast(
        candidates(checkpoints, config, warn) if world.is_rank_zero else list[WeightsCandidate]()
    )
    if len(compared) == 1:
        write_and_load(compared[0].steps)
        return None
    loaded, evaluations = None, dict[WeightsCandidate, Evaluation]()
    for i, candidate in enumerate(compared):
        if candidate.score is None:
            write_and_load(candidate.steps)
            evaluation = validator.score("dev")
            score = world.broadcast(evaluation.validation_score(config.selection_score_name))
            loaded = compared[i] = replace(candidate, score=score)
            evaluations[loaded] = evaluation
    best, *others = best_first(compared)
    if best is not loaded:
        write_and_load(best.steps)
    if world.is_rank_zero:
        write_compared(folder, [best, *others])
    return evaluations.get(best)
