"""Scores of a fine-tuned model and of the model that it started from, on the test sets of both."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from seqx.data.prepare import no_progress
from seqx.errors import UserError
from seqx.inference.evaluation import evaluate
from seqx.inference.loading import load, model_folder
from seqx.inference.predictor import Predictor
from seqx.interfaces.scores import Score
from seqx.interfaces.task import Split
from seqx.storage.cache_folder import default_cache
from seqx.storage.model_folder import read_scores


def old_test_scores(
    initial: Path, trained: Path, *, device: str, before_batch: Callable[[], None] = lambda: None
) -> Mapping[str, Mapping[str, Score]] | None:
    """Return the scores of both models on the test set of the initial model's corpus.

    Args:
        initial: the folder of the initial model; its recorded scores are used if it has some
        trained: the folder of the fine-tuned model
        device: the device
        before_batch: called before each batch. It may raise an exception to end the work.

    Returns:
        the scores "before" and "after"; None if the corpus has no test set

    Raises:
        UserError: the test set or the initial model cannot be read
    """
    old = load(initial, device=device, lenient=True)
    if "test" not in old.task.available:
        return None
    old.task.fetch(default_cache() / "corpora", no_progress, splits=("test",))
    rows = old.task.read_split("test")

    def scores(predictor: Predictor) -> Mapping[str, Score]:
        task, model, search = predictor.task, predictor.model, predictor.search
        settings: Any = {"device": predictor.device, "precision": predictor.precision, "lenient": True}
        return evaluate(Predictor(task, model, search, before_batch=before_batch, **settings), rows).scores

    before = read_scores(initial).get("test") or scores(old)
    return {"before": before, "after": scores(load(trained, device=device, lenient=True))}


def report_old_test(
    initial: Path,
    trained: Path,
    write: Callable[[Mapping[str, Mapping[str, Score]]], None],
    *,
    device: str,
    before_batch: Callable[[], None],
) -> None:
    """Print and write the scores of both models; if they cannot be computed, print why.

    Args:
        initial: the initial model, as the recipe names it
        trained: the folder of the fine-tuned model
        write: writes the scores "before" and "after"
        device: the device
        before_batch: called before each batch. It may raise an exception to end the work.
    """
    try:
        both = old_test_scores(model_folder(initial), trained, device=device, before_batch=before_batch)
    except UserError as error:
        click.echo(f"training.init_from.old_test: the scores are unknown ({error})", err=True)
        return
    if both is None:
        return
    write(both)
    _print(f"test set of {initial}", both)


def report_new_test(
    build: Callable[[], Predictor],
    rows: Split,
    after: Mapping[str, Score],
    write: Callable[[Mapping[str, Mapping[str, Score]]], None],
) -> None:
    """Print and write the scores of both models on the run's own test set; if that is impossible, print why.

    Args:
        build: builds a predictor of the initial model, with the task of the run
        rows: the test set
        after: the scores of the fine-tuned model
        write: writes the scores "before" and "after"
    """
    try:
        before = evaluate(build(), rows).scores
    except UserError as error:
        click.echo(f"the scores of the initial model on the test set are unknown ({error})", err=True)
        return
    both = {"before": before, "after": after}
    write(both)
    _print("test set of this run", both)


def _print(title: str, both: Mapping[str, Mapping[str, Score]]) -> None:
    for metric, before in both["before"].items():
        if metric in both["after"]:
            after = both["after"][metric].value
            click.echo(f"{title}: {metric} {before.value:.2f} before, {after:.2f} after", err=True)
