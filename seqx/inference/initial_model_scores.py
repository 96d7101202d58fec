"""Scores of a fine-tuned model and of the model that it started from, on the test sets of both."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch

from seqx.data.prepare import no_progress
from seqx.errors import UserError
from seqx.inference.evaluation import evaluate
from seqx.inference.loading import load, model_folder
from seqx.inference.predictor import Predictor
from seqx.interfaces.scores import Score
from seqx.interfaces.task import Split
from seqx.runtime.devices import raise_torch_oom
from seqx.storage.cache_folder import default_cache
from seqx.storage.model_folder import read_scores

BothScores = Mapping[str, Mapping[str, Score]]
"""The scores "before" and "after" fine-tuning."""


def old_test_scores(
    initial: Path,
    trained: Path,
    *,
    is_recorded: Callable[[Path, Split], bool | None],
    device: str,
    before_batch: Callable[[], None] = lambda: None,
) -> BothScores | None:
    """Return the scores of both models on the test set of the initial model's corpus.

    Args:
        initial: the folder of the initial model
        trained: the folder of the fine-tuned model
        is_recorded: returns true if the run of a model folder has recorded this text of a split, and so the
            recorded scores are those of this text; false if it has recorded another text; None: it is unknown
        device: the device
        before_batch: called before each batch. It may raise an exception to end the work.

    Returns:
        the scores "before" and "after"; None if the corpus has no test set

    Raises:
        UserError: the test set or the initial model cannot be read, or the test set has changed
    """
    old = load(initial, device=device, lenient=True)
    if "test" not in old.task.available:
        return None
    old.task.fetch(default_cache() / "corpora", no_progress, splits=("test",))
    rows = old.task.read_split("test")
    recorded = is_recorded(initial, rows)
    if recorded is False:
        raise UserError(
            "its recipe names other text than when it was trained; relative paths in it begin in the current "
            "folder"
        )

    def scores(predictor: Predictor) -> Mapping[str, Score]:
        task, model, search = predictor.task, predictor.model, predictor.search
        settings: Any = {"device": predictor.device, "precision": predictor.precision, "lenient": True}
        return evaluate(Predictor(task, model, search, before_batch=before_batch, **settings), rows).scores

    before = read_scores(initial).get("test") if recorded else None
    return {"before": before or scores(old), "after": scores(load(trained, device=device, lenient=True))}


@dataclass(frozen=True, kw_only=True)
class InitialModelReport:
    """Prints and writes the scores of the initial and of the fine-tuned model, on the test sets of both.

    Args:
        initial: the initial model, as the recipe names it
        trained: the folder of the fine-tuned model
        build_initial: builds a predictor of the initial model, with the task of the run
        has_old_test: the scores on the test set of the initial model are reported, too
        is_recorded: see `old_test_scores`
        write_new_test, write_old_test: write the scores "before" and "after" on a test set
        device: the device
        before_batch: called before each batch. It may raise an exception to end the work.
    """

    initial: Path
    trained: Path
    build_initial: Callable[[], Predictor]
    has_old_test: bool
    is_recorded: Callable[[Path, Split], bool | None]
    write_new_test: Callable[[BothScores], None]
    write_old_test: Callable[[BothScores], None]
    device: str
    before_batch: Callable[[], None]

    def __call__(self, scores: Mapping[str, Mapping[str, Score]]) -> None:
        """Report, after the fine-tuned model got these scores; print why if scores cannot be computed."""
        if "test" in scores:
            self._report_new_test(scores["test"])
        if self.has_old_test:
            self._report_old_test()

    def _report_new_test(self, after: Mapping[str, Score]) -> None:
        try:
            with raise_torch_oom():
                predictor = self.build_initial()
                before = evaluate(predictor, predictor.task.read_split("test")).scores
        except (UserError, torch.OutOfMemoryError) as error:
            click.echo(f"the scores of the initial model on the test set are unknown ({error})", err=True)
            return
        title = "test set of this run"
        both = _comparable(title, {"before": before, "after": after})
        self.write_new_test(both)
        _print(title, both)

    def _report_old_test(self) -> None:
        try:
            folder = model_folder(self.initial)
            with raise_torch_oom():
                both = old_test_scores(
                    folder,
                    self.trained,
                    is_recorded=self.is_recorded,
                    device=self.device,
                    before_batch=self.before_batch,
                )
        except (UserError, torch.OutOfMemoryError) as error:
            click.echo(
                f"training.init_from.old_test: the scores on the test set of {self.initial} are unknown "
                f"({error}); set it to false to leave them out",
                err=True,
            )
            return
        if both is not None:
            title = f"test set of {self.initial}"
            both = _comparable(title, both)
            self.write_old_test(both)
            _print(title, both)


def _comparable(title: str, both: BothScores) -> BothScores:
    """Return the scores without those whose settings differ before and after; print why they are left out."""
    before, after = both["before"], both["after"]
    common = before.keys() & after.keys()
    different = {name for name in common if before[name].settings != after[name].settings}
    for name in sorted(different):
        click.echo(
            f"{title}: {name} is left out, because its settings differ: {before[name].settings} before, "
            f"{after[name].settings} after",
            err=True,
        )
    return {
        when: {name: score for name, score in scores.items() if name not in different}
        for when, scores in both.items()
    }


def _print(title: str, both: BothScores) -> None:
    for metric, before in both["before"].items():
        if metric in both["after"]:
            after = both["after"][metric].value
            click.echo(f"{title}: {metric} {before.value:.2f} before, {after:.2f} after", err=True)
