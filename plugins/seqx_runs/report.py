"""The page `report.html` of a run."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import click

import seqx
from seqx_runs import run_facts
from seqx_runs.attention_view import attention_views
from seqx_runs.breakdown import by_length, by_rarest_word
from seqx_runs.conclusions import Scores, conclusions
from seqx_runs.marks import excerpts
from seqx_runs.pages import render
from seqx_runs.run_answers import RESAMPLES, RunAnswers, default_split, read_answers
from seqx_runs.run_curves import learning_charts, speed_charts
from seqx_runs.sentences import rank_answers

REPORT = "report.html"
"""The file in the folder of a run."""

MAX_BYTES = 3_000_000
"""The size in bytes above which a report leaves out attention and single sentences."""

MAX_NOTICES = 40
"""The maximum number of problems of the run that are shown."""


@dataclass(frozen=True, kw_only=True)
class ScoreRow:
    """A score of the final model."""

    split: str
    name: str
    value: str
    interval: str
    published: str
    signature: str


def write_report(
    folder: Path, *, trust: bool = False, ended: bool = False, with_answers: bool = True
) -> Path:
    """Write the report of a run, finished or not, and return its path.

    Args:
        folder: the folder of the run
        trust: run the local plugins of the run, to compare its outputs with the references
        ended: the caller knows that the run has ended
        with_answers: read the model and the corpus; false: leave out all sections that need them

    Raises:
        UserError: the folder has no run, or the report cannot be written
    """
    record = seqx.Record.read(folder)
    answers: RunAnswers | None = None
    missing = "it was written without them (--quick)"
    if with_answers:
        try:
            answers = read_answers(record, default_split(folder), trust=trust)
        except seqx.UserError as error:
            missing = str(error)
            click.echo(
                f"{folder}: the report leaves out mistakes, sentences and attention: {missing}", err=True
            )
    values = {
        **_run_values(record, ended=ended),
        **_answer_values(answers),
        "scores": list(_score_rows(record, answers)),
        "missing_answers": missing,
    }
    values["conclusions"] = conclusions(
        record.metrics,
        _scores_of(record),
        again=answers.evaluation.scores if answers is not None else {},
        split=values["split"],
        rarest=values["rarest"],
        mistakes=[group for _, groups in values["mistakes"] for group in groups],
    )
    page = render("report.html", **values)
    if len(page.encode()) > MAX_BYTES:
        page = render("report.html", **values | {"attention": [], "ranking": None, "is_shortened": True})
    file = folder / REPORT
    try:
        if file.is_symlink():  # in a folder of unknown origin, it may lead to a file of the user
            file.unlink()
    except OSError as error:
        raise seqx.unwritable(file, error) from None
    seqx.write_atomically(file, page)
    return file


def write_after_run(folder: Path) -> None:
    """Write the report of a run that has just ended. Its local plugins are trusted: the run executed them."""
    click.echo(f"report: {write_report(folder, trust=True, ended=True)}", err=True)


def _run_values(record: seqx.Record, *, ended: bool) -> dict[str, Any]:
    """Return the values of the template that are known for each run."""
    metrics = record.metrics
    notices = [(line["step"], line["what"]) for line in metrics.notices]
    return {
        "version": seqx.__version__,
        **run_facts.summary_of(record, ended=ended),
        "learning": learning_charts(metrics),
        "speed": speed_charts(metrics),
        "notices": notices[:MAX_NOTICES],
        "more_notices": len(notices) - len(notices[:MAX_NOTICES]),
        "compared": list(map(str, record.compared)),
        "recipe": [*run_facts.recipe_lines(record)],
        "has_origins": record.origins is not None,
        "data": run_facts.data_facts(record),
        "environment": run_facts.environment_facts(record),
        "commands": run_facts.commands_of(record),
        "has_metrics": bool(metrics.start),
        "is_shortened": False,
        "resamples": RESAMPLES,
        "is_finished": record.scores is not None,
    }


def _scores_of(record: seqx.Record) -> Scores:
    """Return the scores of the final model, or of the last validation of an unfinished run."""
    return record.scores or {split: each.scores for split, each in record.metrics.last_evaluations.items()}


def _score_rows(record: seqx.Record, answers: RunAnswers | None) -> Iterator[ScoreRow]:
    """Yield the scores of the final model, or of the last validation of an unfinished run."""
    evaluations, by_split = record.metrics.last_evaluations, _scores_of(record)
    published = record.recipe.get("published") or {}
    for split, scores in by_split.items():
        again = answers.evaluation.scores if answers is not None and answers.split.name == split else {}
        for name, score in scores.items():
            interval = again[name].interval if name in again else None
            is_same = interval is not None and math.isclose(again[name].value, score.value, abs_tol=1e-6)
            known = (published.get(split) or {}).get(name)
            yield ScoreRow(
                split=split,
                name=name,
                value=f"{score.value:.2f}",
                interval=_limits(interval) if interval and is_same else "",
                published="" if known is None else f"{known:.2f}",
                signature=score.signature,
            )
        if split in evaluations and (perplexity := evaluations[split].perplexity) is not None:
            yield ScoreRow(
                split=split,
                name="perplexity",
                value=seqx.format_number(perplexity),
                interval="",
                published=str((published.get(split) or {}).get("perplexity", "")),
                signature="per target token of this vocabulary",
            )


def _limits(interval: seqx.Interval) -> str:
    return f"{interval.mean - interval.margin:.2f} to {interval.mean + interval.margin:.2f}"


def _answer_values(answers: RunAnswers | None) -> dict[str, Any]:
    """Return the values of the template that need the answers of the run."""
    if answers is None:
        empty = dict.fromkeys(("breakdowns", "inputs", "attention", "mistakes", "tables"), ())
        return {"split": None, "ranking": None, "rarest": None, **empty}
    found, task = answers.evaluation.answers, answers.task
    by_category = groupby(task.mistakes(found), key=lambda group: group.category)
    rarest = by_rarest_word(answers)
    return {
        "split": answers.split.name,
        "breakdowns": [part for part in (by_length(answers), rarest) if part is not None],
        "rarest": rarest,
        "inputs": [answer.input for answer in found],
        "excerpts_of": lambda mistake: excerpts(found[mistake.index], mistake),
        "ranking": rank_answers(task, found),
        "attention": attention_views(answers.predictor, task.inputs(answers.split)),
        "mistakes": [(category, [*groups]) for category, groups in by_category],
        "tables": task.report_tables(found),
    }
