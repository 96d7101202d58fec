"""Score the model on the development and test sets."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import click
import pluggy
import torch

from seqx.inference import Predictor, evaluate
from seqx.interfaces.learning import Search
from seqx.interfaces.networks import Model
from seqx.interfaces.scores import Evaluation, Score, ValidationScore
from seqx.interfaces.task import Task
from seqx.parallel import SINGLE_PROCESS, World
from seqx.parallel.parallelism import Parallelism
from seqx.runtime.signals import StopRequest
from seqx.training.progress import ProgressTracker
from seqx.training.recovery.data_fingerprint import HELD_OUT, DataFingerprint
from seqx.training.run_info import Run


class Validator:
    """An evaluator of a model on held-out splits.

    Args:
        task: the task with the references and the metrics
        model: the model to score
        search: the search that decodes; None: the task does not use one
        precision: the precision of matrix products
        strategy: has the device and the ranks, which share the work; moves the model to the device
        stop: the signals that interrupt a validation
        fingerprint: refuses text that has changed since the run began
        progress: records the scores of validations
        events: the events of the callbacks
    """

    def __init__(
        self,
        task: Task,
        model: Model,
        search: Search | None,
        *,
        precision: Literal["bf16", "fp32"],
        strategy: Parallelism,
        stop: StopRequest,
        fingerprint: DataFingerprint,
        progress: ProgressTracker,
        events: pluggy.HookRelay,
    ) -> None:
        self.task = task
        self.model = model
        self._search = search
        self._precision: Literal["bf16", "fp32"] = precision
        self._strategy = strategy
        self._world = strategy.world
        self._stop = stop
        self._fingerprint = fingerprint
        self._progress = progress
        self._events = events
        self._reported: set[str] = set()  # splits whose warnings were printed

    def check_data(self) -> None:
        """Compare the text with that of earlier starts of the run (collective).

        Raises:
            UserError: it has changed
        """
        with self._world.rank_zero_first():
            self._fingerprint.check_all()

    def validate(self, run: Run) -> ValidationScore:
        """Score the model on the development set; return the score by which checkpoints are compared."""
        self._strategy.gather_full_model()
        config = run.training
        patience_by = config.early_stopping.by if config.early_stopping else None
        evaluation = self._evaluate(run, "dev", is_final=False)
        main_score, patience_score, selection_score = self._world.broadcast(
            (
                next(iter(evaluation.scores.values())),
                evaluation.validation_score(patience_by),
                evaluation.validation_score(config.selection_score_name),
            )
        )
        self._progress.add_validation(main_score, patience_score, patience_by)
        return selection_score

    def test(
        self, run: Run, dev: Evaluation | None, write_outputs: Callable[[str, Evaluation], None]
    ) -> Mapping[str, Mapping[str, Score]]:
        """Score the finished model on the development and test sets, if they exist.

        Args:
            run: the run
            dev: the evaluation of the finished model on the development set, if it was computed already
            write_outputs: writes the outputs on a split; rank 0 calls it
        """
        scores = {}
        for split in HELD_OUT:
            if split in self.task.available:
                known = dev if split == "dev" else None
                evaluation = self._evaluate(run, split, known, is_final=True)
                scores[split] = evaluation.scores
                if self._world.is_rank_zero:
                    write_outputs(split, evaluation)
        return scores

    def score(self, split: str) -> Evaluation:
        """Score the model on a split."""
        with self._inference():
            return self._score(split)

    @contextmanager
    def predictor(self) -> Iterator[Predictor]:
        """Provide a predictor of the model that answers on this rank alone, for callbacks."""
        with self._inference():
            yield self._predictor(SINGLE_PROCESS)

    @contextmanager
    def _inference(self) -> Iterator[None]:
        """Run a block in which the model is on the device and not compiled.

        The states of a search grow, so layers that are compiled for training do not fit them.
        """
        with torch.compiler.set_stance("force_eager"), self._strategy.model_on_device():
            yield

    def _predictor(self, world: World) -> Predictor:
        """Return a predictor whose work the ranks of `world` share."""
        # If only one of several ranks answers, a signal must not interrupt it: the others would wait for it.
        interruptible = world.size == self._world.size
        return Predictor(
            self.task,
            self.model,
            self._search,
            device=self._strategy.device,
            precision=self._precision,
            before_batch=self._stop.raise_if_requested if interruptible else lambda: None,
            world=world,
            lenient=True,
        )

    def _score(self, split: str) -> Evaluation:
        """Score the model on a split; print the warnings of the first time."""
        rows = self.task.read_split(split)
        self._fingerprint.check(rows)
        self._world.enter_stage(f"scoring {split}")
        evaluation = evaluate(self._predictor(self._world), rows)
        if split not in self._reported:
            self._reported.add(split)
            for warning in evaluation.warnings if self._world.is_rank_zero else ():
                if warning.count:
                    click.echo(f"{split}: {warning}", err=True)
        return evaluation

    def _evaluate(
        self, run: Run, split: str, known: Evaluation | None = None, *, is_final: bool
    ) -> Evaluation:
        """Score the model on a split, unless its evaluation is known, and notify callbacks."""
        with self.predictor() as predictor:
            evaluation = known or self._score(split)
            self._events.evaluated(
                run=run,
                step=self._progress.step,
                split=split,
                evaluation=evaluation,
                predictor=predictor,
                is_final=is_final,
            )
        return evaluation
