"""A run between its first and its last update: when to look, save and stop, and which weights to keep."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

import pluggy
import torch
from torch import Tensor

from seqx import checkpoint
from seqx.checkpoint import WEIGHTS, Checkpoints, Progress
from seqx.data.batches import Batches, Loader, Position
from seqx.devices import random_state, set_random_state
from seqx.distributed import World
from seqx.evaluation import Predictor
from seqx.interfaces.learning import Callback, Search
from seqx.interfaces.text import Task
from seqx.interfaces.values import Evaluation, Score
from seqx.plugins import LOCAL, Plugins
from seqx.recipe import Made
from seqx.runs import RunFolder, environment, local_files, written
from seqx.training.ema import Average
from seqx.training.run import Run
from seqx.training.spread import Spread
from seqx.training.step import Step
from seqx.training.updates import Update, updates

RANDOM = "distributed.random"
"""Under which a checkpoint has the random states of each process, where there were several."""


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
        world: World,
        spread: Spread,
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
        self.world = world
        self.spread = spread
        self.progress = Progress()
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
        """Go on from the newest checkpoint, if there is one."""
        steps = self.world.share(self.checkpoints.steps())
        if steps:
            drawn = torch.get_rng_state()
            self.progress, states = self.checkpoints.restore(steps[-1], self.model, self.device)
            for path in self.stateful.keys() & states.keys():
                self.stateful[path].load_state_dict(states[path])
            self._draw_on(states.get(RANDOM, []), drawn)
        return self.progress

    def _draw_on(self, states: Sequence[Mapping[str, Tensor]], fresh: Tensor) -> None:
        """Go on with the random states of this process, or, if there was none of its rank, with its own seed.

        The first process's are restored with the checkpoint.
        """
        rank = self.world.rank
        if rank < len(states):
            set_random_state(states[rank], self.device)
        elif rank:
            torch.set_rng_state(fresh)
            if self.device.type == "cuda":
                torch.cuda.manual_seed(torch.initial_seed())

    def train(self) -> None:
        """Make the updates that are still to be made."""
        how = self.run.training
        self.tell.started(run=self.run)
        if self.progress.step >= how.steps or self._patience_is_over():
            return
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
                spread=self.spread,
            )
            with closing(stream):
                self._follow(islice(stream, how.steps - self.progress.step))
        self.world.stage("finishing")

    def write(self, place: RunFolder, *, made: Made[Any], plugins: Plugins) -> None:
        """Make the mean of the chosen checkpoints the model, on disk and in memory."""
        if self.world.first:
            self._write(place, made, plugins)
        self.world.barrier()
        checkpoint.read_weights(self.model, place.model / WEIGHTS)

    def _write(self, place: RunFolder, made: Made[Any], plugins: Plugins) -> None:
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

    def test(self, place: RunFolder) -> Mapping[str, Mapping[str, Score]]:
        """Score the model on the development and the test set; the run is finished when that is written."""
        scores = {}
        for split in ("dev", "test"):
            evaluation = self._evaluate(split)
            scores[split] = evaluation.scores
            if self.world.first:
                place.write_outputs(split, evaluation)
        if self.world.first:
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

    def _follow(self, stream: Iterator[Update]) -> None:
        how = self.run.training
        saved = began = time.monotonic()
        before = self.progress.seconds
        for update in stream:
            step = update.step
            if self.average is not None and not update.skipped:
                self.average.follow()
            self.progress = replace(
                self.progress,
                step=step,
                epoch=update.then.epoch,
                index=update.then.index,
                tokens=self.progress.tokens + update.tokens,
                seconds=before + time.monotonic() - began,
            )
            self.tell.updated(run=self.run, update=update)
            last = step == how.steps
            validated = self._validate() if last or step % how.validate_every == 0 else None
            stop = self._patience_is_over()
            # The best can only be chosen from what was both validated and saved.
            wanted = how.choose == "best" and validated is not None
            if last or stop or wanted or step % how.save_every == 0:
                self._save(ranked=True, score=validated)
                saved = time.monotonic()
            elif how.save_minutes is not None and self.world.any(
                time.monotonic() - saved > 60 * how.save_minutes
            ):
                self._save(ranked=False, score=None)
                saved = time.monotonic()
            if stop:
                return

    def _validate(self) -> float:
        evaluation = self._evaluate("dev")
        score = self.world.share(next(iter(evaluation.scores.values())))
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
            self.task, model, self.search, device=self.device, precision=precision, world=self.world
        )
        self.world.stage(f"scoring {split}")
        # What is compiled for training does not fit a search's ever longer states.
        with torch.compiler.set_stance("force_eager"):
            evaluation = self.task.evaluate(predictor, split)
            if evaluation.perplexity is None:
                evaluation = replace(evaluation, perplexity=predictor.perplexity(split))
        self.tell.evaluated(run=self.run, step=self.progress.step, split=split, evaluation=evaluation)
        return evaluation

    def _save(self, *, ranked: bool, score: float | None) -> None:
        how = self.run.training
        self.world.stage("saving")
        states = {path: thing.state_dict() for path, thing in self.stateful.items()}
        if self.world.size > 1:
            states[RANDOM] = self.world.gather(random_state(self.device))
        path = self.checkpoints.path(self.progress.step)
        if self.world.first:
            path = self.checkpoints.save(self.progress, self.model, states, score=score, ranked=ranked)
            self.checkpoints.prune(how.keep, choose=how.choose)
        self.world.barrier()
        self.tell.saved(run=self.run, step=self.progress.step, path=path)
