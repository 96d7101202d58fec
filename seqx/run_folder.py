"""The run folder: lock it, refuse files of other runs, and write the files of a run."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from torch import Tensor

from seqx.data.cache import MADE_FROM, fingerprint
from seqx.errors import DamagedError, UserError, unwritable
from seqx.interfaces.scores import Evaluation, Score
from seqx.plugin.environment import environment
from seqx.plugin.loading import LOCAL_FOLDER, Plugins
from seqx.recipe import Configured, differences, is_at_or_below, read_plain, show, yaml_tree
from seqx.run_checks import (
    CHANGEABLE_SETTINGS,
    check_disks,
    check_recipe_is_of_run,
    check_same_plugins,
    check_same_recipe,
    check_steps,
    check_usable,
    local_files,
    recipe_text,
    training_section,
)
from seqx.runtime import main_guard
from seqx.runtime.cpu_threads import MAX_THREADS
from seqx.storage.atomic import atomic_folder, check_links, remove_leftovers, write_atomically
from seqx.storage.checkpoints import Checkpoints
from seqx.storage.identity import Identity, IdentityFile, model_identity
from seqx.storage.json_format import read_json
from seqx.storage.locks import folder_lock
from seqx.storage.manifest import sha256
from seqx.storage.model_folder import SCORES, read_scores, scores_text, write_model, write_scores
from seqx.storage.starts import Start, recorded_starts, with_start
from seqx.storage.text_lines import as_one_line
from seqx.training.config import Patience
from seqx.training.progress import patience_is_over
from seqx.training.recovery.skipped_batches import SKIPPED, SkippedBatches

CHECKPOINTS, OUTPUTS = "checkpoints", "outputs"
ORIGINS = "origins.yaml"
"""The file in a run folder with the output of `seqx show`: all settings and their origins."""

IDENTITY = "identity.json"
"""The file in a run folder with the digests of its recipe, vocabulary and scores."""

DATA = "data.json"
"""The file in a run folder with the digests of the text that the run began with."""

LIMIT = "limit.json"
"""The file in a run folder with the microbatch size that did not fit into memory.

It is written when all ranks must restart after an out-of-memory error.
"""

OLD_TEST_SCORES = "old_test.json"
"""The file in the folder of a fine-tuning run with the scores on the test set of the initial model."""

NEW_TEST_SCORES = "new_test.json"
"""The file in the folder of a fine-tuning run with the scores of both models on the run's test set."""

LINK_CHECKED = (
    *("recipe.yaml", ORIGINS, IDENTITY, "environment.json", DATA, LIMIT, SKIPPED),
    *(OLD_TEST_SCORES, NEW_TEST_SCORES, "plugins", "task", "model"),
)
"""The entries of a run folder whose links must not point out of it.

Other entries may be links of the user, such as `checkpoints` and `outputs` on another disk (`check_disks`).
"""

_PATIENCE: TypeAdapter[int | Patience | None] = TypeAdapter(int | Patience | None)


class RunFolder:
    """The folder with all files that a run writes.

    It has `recipe.yaml` (the resolved recipe), `origins.yaml` (the same with comments), `plugins/` (local
    plugins), `task/` (the vocabulary), `environment.json`, `checkpoints/`, `model/`, `outputs/`, and the
    files of callbacks and plugins.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def model(self) -> Path:
        """The folder of the finished model."""
        return self.folder / "model"

    @property
    def vocabulary(self) -> Path:
        """The folder with the vocabulary of the task."""
        return self.folder / "task"

    @contextmanager
    def locked(
        self, recipe: Configured[Any], plugins: Plugins, *, changed_plugins: bool = False
    ) -> Iterator[Mapping[str, Mapping[str, Score]] | None]:
        """Lock the folder, which must be new or have a run of the same recipe and the same local plugins.

        The folder of a finished run is not locked, because nothing is written: the user may lack the
        permission to write there.

        Args:
            recipe: the checked recipe
            plugins: the plugins that it was checked with
            changed_plugins: accept local plugins whose text has changed since the run began

        Yields:
            the final scores; None if the run is not finished

        Raises:
            UserError: the folder has another run, files or links that the run would replace, or another
                process uses it, or it cannot be written
        """
        if (self.model / SCORES).is_file():
            scores = self.checked_final_scores(recipe, plugins, changed_plugins=changed_plugins)
            if scores is not None:
                yield scores
                return
        self._check_before_lock()
        check_disks(self.folder, CHECKPOINTS, OUTPUTS)
        with folder_lock(self.folder, "run", on_conflict=main_guard.exit_if_trial_worker):
            remove_leftovers(self.folder, recursive=True)
            self._check_same_run(recipe, plugins, changed_plugins=changed_plugins)
            yield self.final_scores(recipe)  # another process may have finished the run before the lock

    def _check_before_lock(self) -> None:
        """Refuse a folder with other files, or with links whose targets a run would replace."""
        check_usable(self.folder)
        check_links(self.folder, *LINK_CHECKED)

    def _check_same_run(self, recipe: Configured[Any], plugins: Plugins, *, changed_plugins: bool) -> None:
        """Refuse a folder with a run of another recipe or of other local plugins; see `locked`."""
        check_recipe_is_of_run(self.folder, recipe, plugins)
        check_same_recipe(self.folder, recipe, plugins)
        if (self.folder / "recipe.yaml").is_file():
            check_steps(self.folder, self.checkpoints, recipe.plain()["training"]["steps"])
        if not changed_plugins:
            check_same_plugins(self.folder, self.checkpoints, plugins)

    def threads(self, processes: int) -> int | None:
        """Return the number of CPU threads per process with which the run began.

        Return None if there is no checkpoint yet, if the number is not recorded, or if the run began with
        another number of `processes`: then no number of threads reproduces the last bits of its results.
        """
        file = self.folder / "environment.json"
        if not file.is_file() or not Checkpoints(self.folder / CHECKPOINTS).steps():
            return None
        recorded = read_json(file)
        threads = recorded.get("threads")
        if recorded.get("processes", processes) != processes:
            return None
        return threads if type(threads) is int and 0 < threads <= MAX_THREADS else None

    @property
    def checkpoints(self) -> Checkpoints:
        """The checkpoints of the run; checkpoints of other runs are refused."""
        return Checkpoints(self.folder / CHECKPOINTS, self.identity())

    def identity(self) -> Identity | None:
        """Return the digests of the recipe and the vocabulary that the run began with; None before it began.

        They are read from `identity.json` rather than computed from `recipe.yaml`, because a newer version of
        seqx may have added settings with their defaults to that file.

        Raises:
            UserError: the vocabulary has changed
        """
        file, recipe = IdentityFile.read(self.folder / IDENTITY), self.folder / "recipe.yaml"
        if file is None:  # the run has not begun, or an earlier version of seqx began it
            has_begun = recipe.is_file() and self.vocabulary.is_dir()
            return self._identity(read_plain(recipe), self.vocabulary) if has_begun else None
        if self.vocabulary.is_dir() and fingerprint(self.vocabulary) != file.made_from.vocabulary:
            raise UserError(
                f"{self.vocabulary}: differs from the vocabulary that this run began with; restore it, or "
                "choose another folder (--folder)"
            )
        return file.made_from

    def identity_of(self, recipe: Configured[Any], plugins: Plugins, vocabulary: Path) -> Identity:
        """Return the digests that the run began with; if it has not begun, those of the arguments."""
        if (recorded := self.identity()) is not None:
            return recorded
        plain = yaml_tree.parse(recipe_text(recipe, plugins), str(self.folder / "recipe.yaml")).plain()
        return self._identity(plain, vocabulary)

    @staticmethod
    def _identity(recipe: object, vocabulary: Path) -> Identity:
        settings = {
            key: value
            for key, (value, _) in differences(recipe, {}).items()
            if not is_at_or_below(key, CHANGEABLE_SETTINGS)
        }
        text = json.dumps(settings, sort_keys=True)
        return Identity(recipe=hashlib.sha256(text.encode()).hexdigest(), vocabulary=fingerprint(vocabulary))

    def begin(
        self, recipe: Configured[Any], plugins: Plugins, vocabulary: Path, processes: int = 1, done: int = 0
    ) -> None:
        """Write the recipe, the local plugins, the vocabulary, the digests and the environment.

        Args:
            recipe: the checked recipe
            plugins: the plugins that it was checked with
            vocabulary: the folder of the vocabulary
            processes: number of processes of this start
            done: number of updates made before this start

        Raises:
            UserError: a file cannot be written, or the files of earlier starts cannot be read
        """
        identity = self.identity_of(recipe, plugins, vocabulary)
        write_atomically(self.folder / "recipe.yaml", recipe_text(recipe, plugins))
        write_atomically(self.folder / ORIGINS, show(recipe))
        for plugin in plugins.loaded:
            if plugin.sha256 is not None:  # write it as it was loaded; its file may have changed since then
                _write_plugin(plugin.data, self.folder / plugin.key)
        if not self.vocabulary.is_dir():
            with atomic_folder(self.vocabulary) as new:
                shutil.copytree(vocabulary, new, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MADE_FROM))
        if not (self.folder / IDENTITY).is_file():
            IdentityFile(made_from=identity).write(self.folder / IDENTITY)
        self._write_environment(environment(plugins), processes, done)

    def _write_environment(self, now: Mapping[str, Any], processes: int, done: int) -> None:
        """Write the environment of this start, and the processes and threads of all starts."""
        file = self.folder / "environment.json"
        start = Start(
            step=done,
            rollbacks=SkippedBatches(self.folder).rollbacks,
            processes=processes,
            threads=now["threads"],
        )
        starts = with_start(recorded_starts(file) if file.is_file() else [], start)
        text = json.dumps({**now, "processes": processes, "starts": starts}, indent=2)
        write_atomically(file, text + "\n")

    def final_scores(self, recipe: Configured[Any]) -> Mapping[str, Mapping[str, Score]] | None:
        """Return the scores of the finished model, see `scores`; None if the recipe requires more updates."""
        return self.scores(recipe.plain()["training"])

    def checked_final_scores(
        self, recipe: Configured[Any], plugins: Plugins, *, changed_plugins: bool = False
    ) -> Mapping[str, Mapping[str, Score]] | None:
        """Return `final_scores` after the checks of `locked`; None if the run is not finished.

        Raises:
            UserError: the folder has another run, or the model or the scores belong to another run
        """
        self._check_before_lock()
        self._check_same_run(recipe, plugins, changed_plugins=changed_plugins)
        return self.final_scores(recipe)

    def scores(self, training: Mapping[str, Any]) -> Mapping[str, Mapping[str, Score]] | None:
        """Return the scores of the finished model, by split and metric.

        Args:
            training: the section `training` of the recipe, as plain values

        Returns:
            the scores; None if the run is not finished, or if `training` requires more updates

        Raises:
            UserError: the model or the scores belong to another run
        """
        file, recipe = self.model / SCORES, self.model / "recipe.yaml"
        if not file.is_file() or not recipe.is_file():
            return None
        if (identity := self.identity()) is not None:
            identity.check(self.model, model_identity(self.model))
        before = training_section(recipe)
        if before["steps"] < training["steps"] or self._has_more_patience(before, training):
            return None
        scores, identity_file = read_scores(self.model), IdentityFile.read(self.folder / IDENTITY)
        if identity_file is not None and identity_file.scores not in (None, sha256(file)):
            raise UserError(
                f"{file}: the scores are not those that this run wrote; restore them, or remove the file "
                "and run the same command again, which scores the model again"
            )
        return scores

    def write_scores(self, scores: Mapping[str, Mapping[str, Score]]) -> None:
        """Write the scores of the finished model; write their digest first, for the check in `scores`."""
        identity_file = IdentityFile.read(self.folder / IDENTITY)
        assert identity_file is not None, "it was written when the run began"
        text = scores_text(scores)
        replace(identity_file, scores=hashlib.sha256(text.encode()).hexdigest()).write(self.folder / IDENTITY)
        write_scores(self.model, scores)

    def write_both_scores(self, name: str, scores: Mapping[str, Mapping[str, Score]]) -> None:
        """Write the scores before and after fine-tuning to `OLD_TEST_SCORES` or `NEW_TEST_SCORES`."""
        write_atomically(self.folder / name, scores_text(scores))

    def _has_more_patience(self, before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
        """Return true if patience ended the run, and the new `training.patience` lets it resume."""
        if before.get("patience") == now.get("patience"):
            return False
        try:
            progress = self.checkpoints.progress()
        except DamagedError:
            return True  # the run resumes from an older checkpoint
        patience = _PATIENCE.validate_python(now.get("patience"))
        patience = Patience(validations=patience) if isinstance(patience, int) else patience
        return (
            progress is not None and progress.step < now["steps"] and not patience_is_over(progress, patience)
        )

    def write_model(
        self,
        folder: Path,
        weights: Mapping[str, Tensor],
        *,
        steps: Sequence[int],
        sizes: Mapping[str, int],
        parameters: int,
        recipe: Configured[Any],
        plugins: Plugins,
    ) -> None:
        """Write a model folder.

        Args:
            folder: the final path
            weights: the tensors by their names
            steps: steps of the checkpoints of which `weights` is the mean
            sizes: sizes of the vocabularies
            parameters: number of parameters of the model
            recipe: the checked recipe
            plugins: the plugins that it was checked with
        """
        local = [f"{LOCAL_FOLDER}/{file.name}" for file in local_files(plugins)]
        identity = self.identity()
        write_model(
            folder,
            weights,
            recipe=recipe_text(recipe, plugins),
            vocabulary=self.vocabulary,
            info={
                "run": self.folder.resolve().name,
                "steps": steps,
                "parameters": parameters,
                "sizes": dict(sizes),
                "made_from": None if identity is None else asdict(identity),
                **environment(plugins),
            },
            files={name: self.folder / name for name in local},
        )

    def write_outputs(self, split: str, evaluation: Evaluation) -> None:
        """Write the outputs of the model into `outputs/SPLIT.txt`, one line per input."""
        folder = self.folder / OUTPUTS
        _make_folder(folder)
        if evaluation.answers:
            lines = (f"{as_one_line(answer.output)}\n" for answer in evaluation.answers)
            write_atomically(folder / f"{split}.txt", "".join(lines))


def _write_plugin(data: bytes, file: Path) -> None:
    _make_folder(file.parent)
    write_atomically(file, data)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error, "choose another folder (--folder)") from None
