"""Save, restore, select, average and remove the checkpoints of a run."""

import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from safetensors.torch import save_model
from torch import Tensor, nn

from seqx.errors import DamagedError, UserError
from seqx.interfaces.scores import ValidationScore
from seqx.runtime.random_state import all_random_states, set_all_random_states
from seqx.storage import state_dict
from seqx.storage.atomic import remove_leftovers
from seqx.storage.checkpoint_info import CheckpointInfo, TrainingProgress
from seqx.storage.identity import Identity
from seqx.storage.json_format import FORMAT, check_supported, json_text, read_as
from seqx.storage.weights import (
    WEIGHTS,
    average,
    check_weights,
    checked_manifest,
    missing_manifest,
    read_tensors,
    read_weights,
    sealed_folder,
)

Warn = Callable[[str], object]
"""A function that is called with a message about each damaged checkpoint."""

_INFO = TypeAdapter(CheckpointInfo)
_INFO_FILE = "checkpoint.json"
_STEP = re.compile(r"\d{8,}", re.ASCII)
_PRUNED = re.compile(r"\.\d{8,}\.old", re.ASCII)
_DAMAGED_SUFFIX = ".damaged"
_RANDOM = "random"  # the key of the random states in the states of a checkpoint


class Checkpoints:
    """The checkpoints of a run in `checkpoints/STEP/`. Each is either complete or absent.

    Args:
        folder: the folder of all checkpoints
        identity: the identity of the run, to refuse checkpoints of other runs; None: accept all checkpoints
    """

    def __init__(self, folder: Path, identity: Identity | None = None) -> None:
        self.folder = folder
        self.identity = identity

    def steps(self) -> list[int]:
        """Return the steps of all checkpoints in ascending order."""
        if not self.folder.is_dir():
            return []
        return sorted(int(path.name) for path in self.folder.iterdir() if _STEP.fullmatch(path.name))

    def path(self, step: int) -> Path:
        """Return the folder of the checkpoint of a step."""
        return self.folder / f"{step:08}"

    def save(
        self,
        progress: TrainingProgress,
        model: nn.Module,
        states: Mapping[str, Any],
        *,
        score: ValidationScore | None = None,
        ranked: bool = True,
    ) -> Path:
        """Write a checkpoint; read it again and check its hashes.

        Args:
            progress: the position of the run
            model: the model whose weights are saved
            states: the states of all other objects, by name, see `seqx.storage.state_dict`
            score: the score of the validation after this update, by which checkpoints are compared
            ranked: false: the checkpoint is only for resuming, and is never averaged or selected

        Raises:
            UserError: the checkpoint cannot be written, or its hashes are wrong when it is read again
        """
        path = self.path(progress.step)
        info = CheckpointInfo(
            format=FORMAT,
            score=None if score is None else score.rank,
            ranked=ranked,
            progress=progress,
            figure=score,
            made_from=self.identity,
        )
        self._remove_hidden()  # leftovers of killed processes may fill the disk
        with sealed_folder(path) as new:
            save_model(model, str(new / WEIGHTS))
            state_dict.write(new, {**states, _RANDOM: all_random_states()})
            (new / _INFO_FILE).write_text(json_text(asdict(info), indent=2) + "\n", encoding="utf-8")
        return path

    def info(self, step: int) -> CheckpointInfo:
        """Read `checkpoint.json` of a checkpoint, and check the sizes of all files.

        Raises:
            DamagedError: a file is missing, truncated or changed
            UserError: it is the checkpoint of another step or another run
        """
        path = self.path(step)
        manifest = checked_manifest(path, _INFO_FILE)
        info = read_as(_INFO, path / _INFO_FILE)
        check_supported(info.format, path / _INFO_FILE)
        if manifest is None:
            raise missing_manifest(path)
        if info.progress.step != step:
            expected = self.path(info.progress.step)
            raise UserError(
                f"{path}: holds the checkpoint of update {info.progress.step}; rename it to {expected.name}, "
                f"or move it out of {self.folder}"
            )
        if self.identity is not None:
            self.identity.check(path, info.made_from)
        return info

    def check(self) -> None:
        """Check that each checkpoint that is not damaged belongs to this run, and to the step in its name.

        Raises:
            UserError: a checkpoint belongs to another step or another run
        """
        for step in self.steps():
            with suppress(DamagedError):
                self.info(step)

    def progress(self) -> TrainingProgress | None:
        """Return the progress at the newest checkpoint; None if there is none."""
        steps = self.steps()
        return self.info(steps[-1]).progress if steps else None

    def resume(
        self,
        model: nn.Module,
        device: torch.device,
        warn: Warn,
        *,
        before: int | None = None,
    ) -> tuple[TrainingProgress, dict[str, Any]] | None:
        """Restore the newest intact checkpoint, and rename damaged newer ones.

        Args:
            model: the model whose weights are restored
            device: the device for the tensors of all other states
            warn: called with a message about each damaged checkpoint
            before: use only checkpoints before this step; None: all checkpoints

        Returns:
            the progress and the states, see `restore`; None if there are no checkpoints

        Raises:
            UserError: all checkpoints are damaged, or one belongs to another model or run
        """
        self.check()
        damaged: dict[int, DamagedError] = {}
        for step in reversed([step for step in self.steps() if before is None or step < before]):
            try:
                restored = self.restore(step, model, device)
            except DamagedError as error:
                damaged[step] = error
                continue
            for other, damage in damaged.items():
                self._set_aside(other, f"{damage}; resuming from the checkpoint of update {step}", warn)
            return restored
        if damaged:
            raise UserError(
                f"{next(iter(damaged.values()))}; no earlier checkpoint is intact: "
                f"remove {self.folder} to start again"
            )
        aside = [path.name for path in self.folder.glob(f"*{_DAMAGED_SUFFIX}")] if before is None else []
        if aside:
            raise UserError(
                f"{self.folder}: only damaged checkpoints are left ({min(aside)}); restore an intact one, "
                f"or remove {self.folder} to start again"
            )
        return None

    def restore(
        self, step: int, model: nn.Module, device: torch.device
    ) -> tuple[TrainingProgress, dict[str, Any]]:
        """Restore the weights of a step and torch's random states; return the progress and all other states.

        Raises:
            DamagedError: a file is missing, damaged or changed
            UserError: the checkpoint belongs to another model, or a newer version of seqx wrote it
        """
        path = self.path(step)
        info = self.info(step)
        checked_manifest(path, state_dict.TREE, state_dict.TENSORS)
        states = state_dict.read(path, device)
        read_weights(model, path / WEIGHTS)
        try:
            set_all_random_states(states.pop(_RANDOM))
        except (LookupError, TypeError, AttributeError, RuntimeError) as error:
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
            raise DamagedError(f"{path}: its random states cannot be read ({reason})") from None
        return info.progress, states

    def prune(self, keep: int, *, order: str, warn: Warn) -> None:
        """Remove all checkpoints except the newest, the best, and the `keep` last or best ranked ones.

        Damaged checkpoints are renamed.

        Args:
            keep: number of ranked checkpoints to keep
            order: "last" or "best"
            warn: called with a message about each damaged checkpoint
        """
        selected = [
            *self.select(keep, order=order, warn=warn),
            *self.select(1, order="best", warn=warn),
        ]
        steps = self.steps()
        kept = {*steps[-1:], *selected}
        self.remove(step for step in steps if step not in kept)

    def remove(self, steps: Iterable[int]) -> None:
        """Remove checkpoints, in this order; each one is complete until it is removed."""
        self._remove_hidden()
        for step in steps:  # rmtree is not atomic, so choose a name that readers ignore
            self.path(step).rename(self.folder / f".{step:08}.old")
        self._remove_hidden()

    def average(self, count: int, *, order: str, warn: Warn) -> tuple[list[int], dict[str, Tensor]]:
        """Return the mean weights of the last or best `count` checkpoints that are intact, and their steps.

        A run may be working in the folder, so damaged checkpoints are not renamed.

        Args:
            count: number of checkpoints
            order: "last" or "best"
            warn: called with a message about each damaged checkpoint

        Raises:
            UserError: no checkpoint is intact
        """
        damaged: dict[int, DamagedError] = {}
        while steps := self._select(count, order, damaged):
            try:
                weights = average([self.path(step) / WEIGHTS for step in steps])
            except DamagedError:
                for step in steps:
                    self._examine(step, lambda step: read_tensors(self.path(step) / WEIGHTS), damaged)
                continue
            for error in damaged.values():
                warn(_not_averaged(error))
            return steps, weights
        raise self._none_intact(damaged)

    def select_intact(self, selections: Sequence[tuple[int, str]], *, warn: Warn) -> list[list[int]]:
        """Return the steps of several selections of checkpoints whose weights are intact.

        The weights of each checkpoint are checked once, and damaged checkpoints are renamed.

        Args:
            selections: number of checkpoints and order ("last" or "best") of each selection
            warn: called with a message about each damaged checkpoint

        Raises:
            UserError: no checkpoint is intact
        """
        damaged: dict[int, DamagedError] = {}
        intact = set[int]()

        def check(step: int) -> None:
            check_weights(self.path(step) / WEIGHTS)
            intact.add(step)

        selected: list[list[int]] = []
        for count, order in selections:
            while not intact.issuperset(steps := self._select(count, order, damaged)):
                for step in sorted({*steps} - intact):
                    self._examine(step, check, damaged)
            if not steps:
                raise self._none_intact(damaged)
            selected.append(steps)
        for step, error in damaged.items():
            self._set_aside(step, _not_averaged(error), warn)
        return selected

    def _none_intact(self, damaged: Mapping[int, DamagedError]) -> UserError:
        reason = "".join(f"; {error}" for error in [*damaged.values()][-1:])
        return UserError(f"{self.folder}: there is no intact checkpoint to average{reason}")

    def select(self, count: int, *, order: str, warn: Warn) -> list[int]:
        """Return the steps of the last or best `count` ranked checkpoints, in ascending order.

        If none is ranked, the newest checkpoint is returned. A checkpoint with a file of another size, or a
        damaged `checkpoint.json`, is renamed if another one is intact.

        Args:
            count: number of checkpoints
            order: "last" or "best"
            warn: called with a message about each damaged checkpoint
        """
        damaged: dict[int, DamagedError] = {}
        steps = self._select(count, order, damaged)
        for step, error in damaged.items() if steps else ():
            self._set_aside(step, f"{error}; continuing without it", warn)
        return steps

    def _select(self, count: int, order: str, damaged: dict[int, DamagedError]) -> list[int]:
        """Select checkpoints that are not in `damaged`; add to it those that cannot be read."""
        infos: dict[int, CheckpointInfo] = {}
        for step in self.steps():
            if step not in damaged:
                self._examine(step, lambda step: infos.update({step: self.info(step)}), damaged)
        ranked = [step for step, info in infos.items() if info.ranked]
        if order == "best":
            orders = {step: infos[step].order for step in ranked}
            scored = [step for step, order in orders.items() if order is not None]
            ranked = sorted(scored, key=lambda step: (orders[step], step)) or ranked
        return sorted(ranked[-count:]) or list(infos)[-1:]

    def _examine(self, step: int, read: Callable[[int], object], damaged: dict[int, DamagedError]) -> None:
        """Read a checkpoint. If that fails, add it to `damaged`, unless a run has pruned it meanwhile."""
        try:
            read(step)
        except DamagedError as error:
            if self.path(step).is_dir():
                damaged[step] = error

    def _set_aside(self, step: int, message: str, warn: Warn) -> None:
        """Rename a damaged checkpoint so that it is ignored but can be inspected."""
        aside = self.path(step).with_suffix(_DAMAGED_SUFFIX)
        shutil.rmtree(aside, ignore_errors=True)
        try:
            self.path(step).rename(aside)
        except OSError as error:
            warn(f"{message}; it could not be renamed ({error.strerror or error})")
        else:
            warn(f"{message}; it was renamed to {aside.name}")

    def _remove_hidden(self) -> None:
        """Remove pruned checkpoints and the leftovers of killed processes.

        The folder may be a link to a folder of the user: remove only names that this class writes.
        """
        remove_leftovers(self.folder, _STEP)
        pruned = [path for path in self.folder.glob(".*") if _PRUNED.fullmatch(path.name)]
        for path in pruned:
            shutil.rmtree(path, ignore_errors=True)


def _not_averaged(error: DamagedError) -> str:
    return f"{error}; it is not averaged"
