"""Save and restore everything that a run needs to resume."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seqx.errors import UserError, shortened
from seqx.interfaces.learning import Callback
from seqx.interfaces.networks import Model
from seqx.interfaces.scores import ValidationScore
from seqx.parallel.parallelism import Parallelism
from seqx.plugin.blame import message_naming_plugin
from seqx.runtime.devices import raise_torch_oom
from seqx.runtime.random_state import random_state, set_random_state
from seqx.storage import state_dict
from seqx.storage.checkpoint_info import TrainingProgress
from seqx.storage.checkpoints import Checkpoints
from seqx.storage.weights import checked_manifest

RANDOM = "distributed.random"
"""The key of the random states of all ranks in a checkpoint; a single rank with a CPU does not need it."""


RANKS = "training.parallel"
"""The key of the states that strategies keep of each rank (`Parallelism.rank_state`) in a checkpoint."""

_RESUME_ADVICE = (
    "another version of seqx wrote the checkpoint, or it was changed; resume with that version, or remove "
    "the checkpoint to resume from an earlier one"
)


class Checkpointer:
    """A writer and reader of checkpoints: the model, the states of training, the random states of all ranks.

    Args:
        checkpoints: the checkpoints of the run
        model: the model whose weights are saved: the moving average, if there is one
        parts: the parts of training that have a `state_dict`, by their paths in the recipe; they include the
            optimizer. Parts whose `state_dict` returns None are left out
        strategy: the strategy by which ranks share the model; has the optimizer, the ranks and the device
        warn: called with a message about each damaged checkpoint
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        *,
        model: Model,
        parts: Mapping[str, Any],
        strategy: Parallelism,
        warn: Callable[[str], None],
    ) -> None:
        self.checkpoints = checkpoints
        self.model = model
        self._parts = parts
        self._strategy = strategy
        self._optimizer, self._world, self._device = strategy.optimizer, strategy.world, strategy.device
        self._warn = warn
        self._seeded_state = torch.get_rng_state()  # for ranks whose state is not in the checkpoint

    def resume(self, before: int | None = None) -> TrainingProgress:
        """Restore the newest undamaged checkpoint and return its progress.

        Without a checkpoint, return the progress of a new run.

        Args:
            before: ignore the checkpoints of this update and of later ones; None: consider all
        """
        if before is not None:  # free the state that is replaced: both may not fit into memory
            self._optimizer.load_state_dict({**self._optimizer.state_dict(), "state": {}})
        with self._reporting_oom("reads a checkpoint"):
            newest = self._newest(before)
        if newest is None:
            return TrainingProgress()
        progress, states = newest
        self._load_states(progress.step, states)
        return progress

    def restore(self, step: int) -> tuple[TrainingProgress, Sequence[Mapping[str, Tensor]]]:
        """Restore the checkpoint of one update on a single rank; no file is changed.

        Returns:
            the progress, and the random states of all ranks; none if the run had one rank, on a CPU

        Raises:
            DamagedError: a file is missing, damaged or changed
            UserError: the checkpoint does not fit
        """
        with self._reporting_oom("reads a checkpoint"):
            progress, states = self.checkpoints.restore(step, self.model, self._strategy.load_device())
        self._load_states(step, states)
        return progress, states.get(RANDOM, [])

    def _load_states(self, step: int, states: Mapping[str, Any]) -> None:
        """Load the states of a checkpoint, whose weights have been restored, into the parts of training."""
        for path in self._parts.keys() & states.keys():
            self._load_state(path, states[path], self.checkpoints.path(step))
        self._strategy.load_full_model()
        self._strategy.load_rank_states(states.get(RANKS, []))
        self._set_random_state(states.get(RANDOM, []))

    def save(
        self, progress: TrainingProgress, *, ranked: bool, validation_score: ValidationScore | None
    ) -> Path:
        """Write a checkpoint; return its folder.

        Args:
            progress: the progress of the run
            ranked: the checkpoint may be averaged or selected; false: it only serves to resume
            validation_score: the score of the validation after the same update, if there was one

        Raises:
            UserError: the checkpoint cannot be written, or does not fit into memory
        """
        try:
            with raise_torch_oom():
                return self._save(progress, ranked=ranked, validation_score=validation_score)
        except torch.OutOfMemoryError as error:
            reason = shortened(str(error).partition("\n")[0], 200)
            detail = f" ({reason})" if reason else ""
            raise UserError(
                f"{self.checkpoints.path(progress.step)}: out of memory while the checkpoint is saved"
                f"{detail}; older checkpoints are kept: free memory, or set a smaller training.microbatch, "
                "and run the same command again"
            ) from None

    def _save(
        self, progress: TrainingProgress, *, ranked: bool, validation_score: ValidationScore | None
    ) -> Path:
        """Gather the states of all ranks, and write them on rank 0; see `save`."""
        self._world.enter_stage("saving")
        self._strategy.gather_full_model()
        states = self._strategy.full_state_dict(
            {path: state for path, part in self._parts.items() if (state := part.state_dict()) is not None}
        )
        if rank_state := self._strategy.rank_state():
            states[RANKS] = self._world.gather(rank_state)
        # The random states of `Checkpoints` name GPUs by number, but a run may resume on another GPU.
        if self._world.size > 1 or self._device.type == "cuda":
            states[RANDOM] = self._world.all_gather(random_state(self._device))
        if not self._world.is_rank_zero:
            return self.checkpoints.path(progress.step)
        return self.checkpoints.save(progress, self.model, states, score=validation_score, ranked=ranked)

    def is_ranked(self, step: int) -> bool:
        """Return true if the checkpoint of a step may be averaged or selected (collective)."""
        return self._world.broadcast(
            self.checkpoints.info(step).ranked if self._world.is_rank_zero else False
        )

    def prune(self, keep: int, *, order: str) -> None:
        """Remove checkpoints that are no longer needed; see `Checkpoints.prune`."""
        self.checkpoints.prune(keep, order=order, warn=self._warn)

    def _newest(self, before: int | None) -> tuple[TrainingProgress, dict[str, Any]] | None:
        """Read the newest undamaged checkpoint. Rank 0 chooses it, and renames damaged checkpoints."""
        device = self._strategy.load_device()
        if self._world.is_rank_zero:
            newest = self.checkpoints.resume(self.model, device, self._warn, before=before)
            self._world.broadcast(newest[0].step if newest else None)
            return newest
        step = self._world.broadcast(None)
        return None if step is None else self.checkpoints.restore(step, self.model, device)

    def load_optimizer(self, checkpoint: Path) -> None:
        """Load the state of the optimizer in a checkpoint of another run; keep the settings of this run.

        Raises:
            UserError: it has none, or that of another optimizer
        """
        checked_manifest(checkpoint, state_dict.TREE, state_dict.TENSORS)
        with self._reporting_oom("reads a checkpoint"):
            states = state_dict.read(checkpoint, self._strategy.load_device())
        settings = [
            {name: value for name, value in group.items() if name != "params"}
            for group in self._optimizer.param_groups
        ]
        advice = (
            "another optimizer or another version of seqx wrote it; start with a new state "
            "(training.init_from.reset_optimizer: true)"
        )
        self._load_state("training.optimizer", states.get("training.optimizer"), checkpoint, advice)
        for group, own in zip(self._optimizer.param_groups, settings, strict=True):
            if other := sorted(group.keys() - own.keys() - {"params"}):
                name = type(self._optimizer).__name__
                raise _misfit(
                    checkpoint, "training.optimizer", name, f"it lacks the setting {other[0]}", advice
                )
            group.update(own)

    def _load_state(self, path: str, state: Any, checkpoint: Path, advice: str = _RESUME_ADVICE) -> None:
        part = self._parts[path]
        try:
            with self._reporting_oom(f"loads the state of {path}"):
                if part is self._optimizer:
                    self._strategy.load_optimizer_state(state)
                else:
                    part.load_state_dict(state)
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            if message_naming_plugin(error) is not None:
                raise
            detail = f"{type(error).__name__}: {error}".partition("\n")[0]
            raise _misfit(checkpoint, path, type(part).__name__, detail, advice) from error

    @contextmanager
    def _reporting_oom(self, activity: str) -> Iterator[None]:
        """Report that the device is out of memory in the block, which does this `activity`."""
        try:
            with raise_torch_oom():
                yield
        except torch.OutOfMemoryError:
            raise UserError(
                f"{self._device} is out of memory while it {activity}; make the model smaller, or shard it "
                "over several devices with training.parallel=fsdp"
            ) from None

    def _set_random_state(self, states: Sequence[Mapping[str, Tensor]]) -> None:
        """Restore the random state of this rank; a rank without a saved state starts from its own seed.

        The random state of rank 0 is restored with the checkpoint itself.
        """
        rank = self._world.rank
        if rank < len(states):
            set_random_state(states[rank], self._device)
        elif rank:
            torch.set_rng_state(self._seeded_state)
            if self._device.type == "cuda":
                torch.cuda.manual_seed(torch.initial_seed())


def _misfit(checkpoint: Path, path: str, name: str, detail: str, advice: str) -> UserError:
    """Return the error about a state in a checkpoint that does not fit the part with this path."""
    return UserError(f"{checkpoint}: the state of {path} does not fit {name} ({detail}); {advice}")


def stateful_callbacks(callbacks: Iterable[Callback]) -> dict[str, Callback]:
    """Return the callbacks that have a `state_dict`, by names that are built from their classes.

    Users may add, remove and reorder callbacks between starts, so their positions cannot name them.
    """
    stateful: dict[str, Callback] = {}
    for callback in callbacks:
        if hasattr(callback, "state_dict"):
            name = f"callbacks.{callback.state_name}"
            num_same_class = sum(path.partition("#")[0] == name for path in stateful)
            stateful[f"{name}#{num_same_class + 1}" if num_same_class else name] = callback
    return stateful
