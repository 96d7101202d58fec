"""The parts of a run that compute updates and scores, without the files of a run, to measure a recipe."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from seqx.build import Context, build_batches, build_data, build_task, data_settings
from seqx.commands.loading import CheckedRecipe
from seqx.data.batches import Batches
from seqx.data.loader import Microbatch, Position, UpdateBatch
from seqx.data.prepare import cached_training_warnings
from seqx.data.ragged import Integers, Ragged
from seqx.data.store import Store
from seqx.inference import Predictor, evaluate
from seqx.interfaces.learning import Search
from seqx.interfaces.task import Split
from seqx.interfaces.tensors import Features
from seqx.parallel import SINGLE_PROCESS
from seqx.run_folder import RunFolder
from seqx.runtime import cpu_threads
from seqx.runtime.signals import StopRequest
from seqx.storage.cache_folder import default_cache
from seqx.storage.checkpoint_info import TrainingProgress
from seqx.storage.text_lines import expand_path
from seqx.training.description import Experiment
from seqx.training.gradient_accumulation import GradientAccumulation
from seqx.training.loop import conditional_step
from seqx.training.placement import build_strategy, optimizer_of
from seqx.training.preflight import build_checked, model_without_weights
from seqx.training.progress import ProgressTracker

FIRST_ID = 4
"""The smallest id of assumed examples; smaller ones are special symbols."""


@dataclass(frozen=True, kw_only=True)
class TrialUpdates:
    """A model with an optimizer whose updates are computed one microbatch at a time, like those of a run."""

    experiment: Experiment
    accumulation: GradientAccumulation
    optimizer: torch.optim.Optimizer

    def add_gradients(self, microbatch: Microbatch) -> None:
        """Compute the forward and the backward pass of a microbatch."""
        count = microbatch.batch.count
        batch = UpdateBatch(
            position=Position(), microbatches=[microbatch], target_tokens=count, token_fraction=1.0
        )
        self.accumulation.accumulate_gradients(batch, "a trial update")

    def step(self) -> None:
        """Clip the gradients, step the optimizer with the first learning rate, and remove the gradients."""
        strategy, training = self.accumulation.strategy, self.experiment.training
        for group in self.optimizer.param_groups:
            group["lr"] = training.schedule(1, training.steps) * group.get("scale", 1.0)
        strategy.clip_grad_norm(training.clip or float("inf"))
        conditional_step(torch.tensor(False, device=self.accumulation.device), self.optimizer)
        self.optimizer.zero_grad(set_to_none=True)
        strategy.update_finished()

    def evaluate(self, split: Split, search: Search | None) -> None:
        """Score the model on rows of a held-out split."""
        predictor = Predictor(
            self.experiment.task,
            self.accumulation.strategy.model,
            search,
            device=self.accumulation.device,
            precision=self.accumulation.precision,
            lenient=True,
        )
        evaluate(predictor, split)


class Trial:
    """A checked recipe whose memory and time are measured before it runs.

    Call `read_data`, or `assume_data`, before the other methods.

    Args:
        checked: the recipe
        folder: an empty folder for temporary files
        device: the device of this machine that computes updates

    Raises:
        RecipeError: the recipe has problems
    """

    def __init__(self, checked: CheckedRecipe, folder: Path, device: torch.device) -> None:
        self._context = Context(
            recipe=checked.configured,
            experiment=build_checked(checked.configured),
            plugins=checked.plugins,
            name=checked.recipe.name,
            folder=RunFolder(folder),
            device=device,
            world=SINGLE_PROCESS,
            stop=StopRequest(),
        )
        if device.type == "cpu":
            cpu_threads.adapt_to_contention()  # as in a run, whose time is predicted
        self.experiment = self._context.experiment
        self.device = device
        self.store: Store | None = None
        self.is_assumed = False  # no text was read

    @property
    def precision(self) -> Literal["bf16", "fp32"]:
        """The precision of matrix products on the device."""
        return self._context.precision

    @property
    def has_text(self) -> bool:
        """True if no text of the recipe must be downloaded, as far as that is known."""
        required = self.experiment.task.required_data(default_cache() / "corpora")
        if required is None or not required.download_bytes:
            return True
        return all(expand_path(file).exists() for file in required.files)

    def read_data(self) -> None:
        """Read vocabulary and examples of the recipe from the cache; prepare and check them if necessary."""
        vocabulary = build_task(self._context)
        model = model_without_weights(self.experiment.task, self.experiment.model)
        self.store = build_data(self._context, model, vocabulary)
        cached_training_warnings(
            self.experiment.task,
            data_settings(self._context, vocabulary),
            progress=self._context.report_preparation,
        )

    def assume_data(self, lengths: Integers) -> None:
        """Assume examples whose columns all have these lengths, with ids spread over the vocabularies."""
        columns = {
            name: _assumed_column(size, lengths) for name, size in self.experiment.task.vocab_sizes.items()
        }
        self.store = Store(Path(), columns, {}, {}, {}, len(lengths), "", len(lengths))
        self.is_assumed = True

    def batches(self, device: torch.device, processes: int = 1) -> Batches:
        """Return the batches of rank 0 of a run on a device, which this machine need not have."""
        assert self.store is not None, "the data are read or assumed"
        model = model_without_weights(self.experiment.task, self.experiment.model)
        context = replace(self._context, device=device)
        batches = build_batches(context, model, self.store, ProgressTracker(TrainingProgress()))
        if self.is_assumed:  # there is no text that could be encoded again
            batches = replace(batches, task=None, processes=0)
        return replace(batches, world_size=processes)

    def updates(
        self, device: torch.device | None = None, precision: Literal["bf16", "fp32"] | None = None
    ) -> TrialUpdates:
        """Build a new model and its optimizer; within a `FakeTensorMode` they are fake.

        Args:
            device: the device; None: the device of the trial
            precision: the precision of matrix products; None: as the recipe sets it for that device
        """
        device = device or self.device
        torch.manual_seed(self.experiment.training.seed)
        training = replace(self.experiment.training, compile=False)
        model = self.experiment.model(self.experiment.task.vocab_sizes)
        strategy = build_strategy(training, model, SINGLE_PROCESS, device)
        optimizer = optimizer_of(strategy, training.optimizer)
        strategy.step.train()
        accumulation = GradientAccumulation(
            strategy=strategy, device=device, precision=precision or self.precision
        )
        return TrialUpdates(experiment=self.experiment, accumulation=accumulation, optimizer=optimizer)


def update_microbatches(batches: Batches, index: int, epoch: int = 0) -> list[Microbatch]:
    """Return the microbatches of one update of an epoch."""
    return batches.update_batch(batches.plan(epoch), Position(epoch, index)).microbatches


def largest_microbatches(batches: Batches) -> list[Microbatch]:
    """Return the microbatch with the most padded tokens, and the one with the most pairs of tokens in rows.

    They are searched in two updates of the first epoch: with the largest group, and with the longest example.
    """
    plan = batches.plan(0)
    longest = np.maximum.reduce([np.asarray(lengths) for lengths in plan.lengths.values()])[plan.order]
    group = int(np.searchsorted(plan.groups, int(longest.argmax()), "right")) - 1
    positions = {plan.largest, int(np.searchsorted(plan.updates, group, "right")) - 1}
    found = [microbatch for index in positions for microbatch in update_microbatches(batches, index)]
    sizes = (lambda m: m.padded_tokens, lambda m: m.padded_tokens**2 / m.num_rows)
    return list({id(best): best for best in (max(found, key=size) for size in sizes)}.values())


def _assumed_column(size: int, lengths: Integers) -> Ragged:
    tokens = int(lengths.sum())
    if isinstance(size, Features):
        return Ragged.of(np.zeros((tokens, size), np.float32), lengths)
    ids = FIRST_ID + np.arange(tokens) % (size - FIRST_ID) if size > FIRST_ID else np.arange(tokens) % size
    return Ragged.of(ids, lengths)
