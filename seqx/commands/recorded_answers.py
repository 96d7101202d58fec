"""Read the outputs that a finished run wrote, with the inputs and references of its corpus."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from seqx.commands.loading import load_checked_run
from seqx.data.prepare import no_progress
from seqx.errors import UserError
from seqx.interfaces.scores import Answer
from seqx.interfaces.task import Task
from seqx.storage.cache_folder import default_cache
from seqx.storage.model_folder import read_scores
from seqx.storage.text_lines import read_lines

_CHANGED = "the corpus has changed since the run, or the outputs have"


@dataclass(frozen=True, kw_only=True)
class RecordedAnswers:
    """The answers of a finished run on a split, and the task that computes their scores."""

    task: Task
    answers: Sequence[Answer]

    @property
    def data(self) -> Sequence[tuple[str, ...]]:
        """The inputs with their references: answers of runs with equal data can be compared."""
        return [(answer.input, answer.reference, *answer.more_references) for answer in self.answers]

    @classmethod
    def read(cls, folder: Path, split: str, *, trust_local_plugins: bool = False) -> "RecordedAnswers":
        """Read the outputs of a run; read the inputs and references from the corpus of its recipe.

        Args:
            folder: the folder of a finished run
            split: the split that was scored
            trust_local_plugins: run the local plugins of the run, if they have the recorded hashes

        Raises:
            UserError: the run has no outputs of this split, its corpus cannot be read, or it has changed
        """
        file = folder / "outputs" / f"{split}.txt"
        if not file.is_file():
            reason = "the task of the run writes no outputs, or the file was removed"
            raise UserError(f"{file}: there is no such file; {reason}")
        outputs = [*read_lines(file)]
        task = load_checked_run(folder, trust_local_plugins=trust_local_plugins).configured().task
        task.fetch(default_cache() / "corpora", no_progress, splits=(split,))
        rows = task.read_split(split)
        if len(task.inputs(rows)) != len(outputs):
            counts = f"it has {len(outputs):,} lines, but {split} has {len(task.inputs(rows)):,} inputs"
            raise UserError(f"{file}: {counts}; {_CHANGED}")
        answers = task.answers(rows, outputs)
        recorded = read_scores(folder / "model").get(split, {})
        for name, score in task.rescore(answers).items():
            before = recorded.get(name, score)
            is_equal = math.isclose(before.value, score.value, rel_tol=1e-6, abs_tol=1e-6)
            is_same_score = before.settings == score.settings
            if is_same_score and not is_equal:
                values = f"{score.value:.2f}, but the run recorded {before.value:.2f}"
                raise UserError(f"{file}: {name} of these outputs is {values}; {_CHANGED}")
        return cls(task=task, answers=answers)
