"""A run between its first and its last update: when to look, save and stop, and which weights to keep."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

import click
import pluggy
import torch

from seqx import checkpoint
from seqx.checkpoint import WEIGHTS, Checkpoints, Progress, random_states, set_random_states
from seqx.data.batches import Batches, Loader, Position
from seqx.evaluation import Predictor
from seqx.interfaces.learning import Callback, Search
from seqx.interfaces.text import Task
from seqx.interfaces.values import Evaluation, Score
from seqx.plugins import LOCAL, Plugins
from seqx.recipe import Made
from seqx.runs import RunFolder, environment, local_files, written
from seqx.stopping import Stop, Stopped
from seqx.training.ema import Average
from seqx.training.run import Run
from seqx.training.step import Step
from seqx.training.updates import Update, updates


class Trainer:
    """Trains, validates, saves, and chooses what becomes the model."""

    run: Run  # set once it is known where to go on

    def __init__(
        self,
        *,
        task: Task,
        search: Search,
        step: Step,
        optimizer: torch.optim.Optimizer,
        average: Average | None,
        batches: Batches,
        checkpoints: Checkpoints,
        callbacks: Sequence[Callback],
        device: torch.device,
        tell: pluggy.HookRelay,
        stop: Stop,
    ) -> None:
        self.task = task
        self.search = search
        self.step = step
        self.optimizer = optimizer
        self.average = average
        # What is validated, saved, and becomes the result.
        self.model = step.model if average is None else average.model
        self.batches = batches
        self.checkpoints = checkpoints
        self.device = device
        self.tell = tell
        self.stop = stop
        self.progress = Progress()
        self._saved = 0.0  # when, by the clock that only goes forward
        # What has a state besides the model, under its path in the recipe.
        self.stateful: dict[str, Any] = {
            "training.objective": step.objective,
            "training.optimizer": optimizer,
        }
        if average is not None:
            self.stateful["training.ema"] = average
        # Callbacks may be added, left out and reordered between starts, so that these go by their class.
        for callback in callbacks:
            if hasattr(callback, "state_dict"):
                self.stateful[f"callbacks.{type(callback).__qualname__}"] = callback

    def resume(self) -> Progress:
        """Go on from the newest checkpoint that is whole, if there is one."""
        found = self.checkpoints.resume(self.model, self.device, self._warn)
        if found is not None:
            self.progress, states = found
            for path in self.stateful.keys() & states.keys():
                self.stateful[path].load_state_dict(states[path])
        return self.progress

    def train(self) -> None:
        """Make the updates that are still to be made."""
        how = self.run.training
        self.tell.started(run=self.run)
        self._saved = time.monotonic()
        if self.progress.pending and self._attend():
            return
        if self.progress.step >= how.steps or self._patience_is_over():
            return
        if how.steps > 1 and how.schedule(how.steps, how.steps) > how.schedule(how.steps - 1, how.steps):
            self._warn(
                "training.schedule: the learning rate still rises at the last update; a shorter warm-up lets "
                "it come down"
            )
        position = Position(self.progress.epoch, self.progress.index)
        with Loader(self.batches, position, device=self.device) as plans:
            stream = updates(
                self.step,
                self.optimizer,
                partial(how.schedule, steps=how.steps),
                plans,
                device=self.device,
                precision=self.run.precision,
                clip=how.clip,
                done=self.progress.step,
                bad=how.nonfinite,
            )
            with closing(stream):
                self._follow(islice(stream, how.steps - self.progress.step))

    def write(self, place: RunFolder, *, made: Made[Any], plugins: Plugins) -> None:
        """Make the mean of the chosen checkpoints the model, on disk and in memory."""
        how = self.run.training
        steps = self.checkpoints.chosen(how.average, choose=how.choose)
        weights = checkpoint.average([self.checkpoints.path(step) / WEIGHTS for step in steps])
        about = {
            "run": self.run.name,
            "steps": steps,
            "parameters": self.run.parameters,
            "sizes": dict(self.task.sizes),
            **environment(plugins),
        }
        local = [f"{LOCAL}/{file.name}" for file in local_files(plugins)]
        checkpoint.write_model(
            place.model,
            weights,
            recipe=written(made, plugins),
            learnt=place.learnt,
            about=about,
            beside={name: place.folder / name for name in local},
        )
        checkpoint.read_weights(self.model, place.model / WEIGHTS)

    def test(self, place: RunFolder) -> Mapping[str, Mapping[str, Score]]:
        """Score the model on the development and the test set; the run is finished when that is written."""
        scores = {}
        for split in ("dev", "test"):
            evaluation = self._evaluate(split)
            scores[split] = evaluation.scores
            place.write_outputs(split, evaluation)
        checkpoint.write_scores(place.model, scores)
        self.tell.finished(run=self.run, scores=scores)
        return scores

    @contextmanager
    def telling_failure(self) -> Iterator[None]:
        """Callbacks hear of whatever breaks the run off."""
        try:
            yield
        except BaseException as error:
            self.tell.failed(run=self.run, error=error)
            raise

    def _warn(self, what: str) -> None:
        """Say what must not pass in silence, also where no callback listens."""
        if self.tell.preparing.get_hookimpls():
            self.tell.preparing(what=what, share=None)
        else:
            click.echo(what, err=True)

    def _follow(self, stream: Iterator[Update]) -> None:
        began = time.monotonic()
        before = self.progress.seconds
        for update in stream:
            if self.average is not None and not update.skipped:
                self.average.follow()
            self.progress = replace(
                self.progress,
                step=update.step,
                epoch=update.then.epoch,
                index=update.then.index,
                tokens=self.progress.tokens + update.tokens,
                seconds=before + time.monotonic() - began,
            )
            self.tell.updated(run=self.run, update=update)
            if self._attend():
                return

    def _attend(self) -> bool:
        """Do what is due after an update; whether training ends here.

        Raises:
            Stopped: a signal asked for it; what is saved goes on as if it had not
        """
        how, step = self.run.training, self.progress.step
        self.progress = replace(self.progress, pending=False)
        last = step == how.steps
        due = last or step % how.validate_every == 0
        validated = self._validate_or_save() if due else None
        over = self._patience_is_over()
        # The best can only be chosen from what was both validated and saved.
        wanted = how.choose == "best" and validated is not None
        if last or over or wanted or step % how.save_every == 0:
            self._save(ranked=True, score=validated)
        elif self.stop.by is not None or self._minutes_are_over():
            self._save(ranked=False, score=None)
        self.stop.look()
        return over

    def _validate_or_save(self) -> float:
        """Validate; when that is stopped, save what was there before it, and that it is still to be done."""
        random = random_states()
        try:
            self.stop.look()
            return self._validate()
        except Stopped:
            set_random_states(random)  # a search may have drawn some
            self.progress = replace(self.progress, pending=True)
            self._save(ranked=False, score=None)
            raise

    def _minutes_are_over(self) -> bool:
        minutes = self.run.training.save_minutes
        return minutes is not None and time.monotonic() - self._saved > 60 * minutes

    def _validate(self) -> float:
        evaluation = self._evaluate("dev")
        score = next(iter(evaluation.scores.values()))
        if self.progress.best is None or score.beats(self.progress.best):
            self.progress = replace(self.progress, best=score.value, best_step=self.progress.step, stale=0)
        else:
            self.progress = replace(self.progress, stale=self.progress.stale + 1)
        return score.rank

    def _patience_is_over(self) -> bool:
        patience = self.run.training.patience
        return patience is not None and self.progress.stale >= patience

    def _evaluate(self, split: str) -> Evaluation:
        model, precision = self.model, self.run.precision
        predictor = Predictor(
            self.task,
            model,
            self.search,
            device=self.device,
            precision=precision,
            between=self.stop.look,
        )
        # What is compiled for training does not fit a search's ever longer states.
        with torch.compiler.set_stance("force_eager"):
            evaluation = self.task.evaluate(predictor, split)
            if evaluation.perplexity is None:
                evaluation = replace(evaluation, perplexity=predictor.perplexity(split))
        self.tell.evaluated(run=self.run, step=self.progress.step, split=split, evaluation=evaluation)
        return evaluation

    def _save(self, *, ranked: bool, score: float | None) -> None:
        how = self.run.training
        states = {path: thing.state_dict() for path, thing in self.stateful.items()}
        path = self.checkpoints.save(self.progress, self.model, states, score=score, ranked=ranked)
        self.checkpoints.prune(how.keep, choose=how.choose)
        self._saved = time.monotonic()
        if not self.progress.pending:  # else the update is saved once more, when all is done that is due
            self.tell.saved(run=self.run, step=self.progress.step, path=path)
