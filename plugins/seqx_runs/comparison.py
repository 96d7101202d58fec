"""The comparison of runs: collecting the data of runs, and formatting them as text."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, NotRequired

from annotated_types import Ge, Lt
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

import seqx
from seqx_runs.comparison_significance import significance_notes
from seqx_runs.comparison_table import Row, format_table, run_columns, score_settings, tasks_of
from seqx_runs.difference_lines import difference_lines

_Count = Annotated[int, Ge(0), Lt(1 << 63)]


class _Published(TypedDict):
    source: str
    parameters: NotRequired[float | None]
    dev: NotRequired[Mapping[str, float] | None]
    test: NotRequired[Mapping[str, float] | None]


class _CheckedData(TypedDict):
    """The data of a run's files that are checked here, because its recipe may be of another version."""

    task: str
    updates: _Count
    steps: _Count
    parameters: _Count | None
    published: _Published | None


_CHECKED_DATA = TypeAdapter(_CheckedData)


def compare_runs(folders: Sequence[Path]) -> list[Row]:
    """Return the data of each run, and the differences of its recipe and environment from those of the first.

    Raises:
        UserError: a folder does not contain a run, or a run that this version cannot read
    """
    records = [seqx.Record.read(folder) for folder in folders]
    return [
        {"run": name, **_run_data(record), **_differences(records[0], record)}
        for name, record in zip(_names(folders), records, strict=True)
    ]


def format_comparison(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of the comparison: a table in Markdown, then notes and differences."""
    if len(tasks := tasks_of(rows)) > 1:
        yield different_tasks_note(tasks)
        yield ""
    yield from format_table(run_columns(rows), "markdown")
    notes = comparison_notes(rows)
    if notes:
        yield ""
        yield from notes
    for title, differences in differences_from_first(rows).items():
        yield ""
        yield f"{title}:" + (" no differences" if not differences else "")
        yield from (f"  {line}" for line in differences)


def comparison_notes(rows: Sequence[Row]) -> list[str]:
    """Return the notes below the table."""
    if len(tasks_of(rows)) > 1:
        return [*_warnings(rows)]
    return [
        *_sources(rows),
        *signature_notes(rows),
        *significance_notes(rows),
        *_models(rows),
        *_warnings(rows),
    ]


def differences_from_first(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Return the lines about recipe and environment of each run that differ from those of the first one.

    If the tasks differ, nearly every setting does, so only the environments are compared.
    """
    is_one_task = len(tasks_of(rows)) == 1
    return {
        f"{row['run']} against {rows[0]['run']}": [
            *(difference_lines(row["recipe"]) if is_one_task else ()),
            *difference_lines(row["environment"]),
        ]
        for row in rows[1:]
    }


def different_tasks_note(tasks: Mapping[str, Sequence[str]]) -> str:
    """Return the note that the runs have different tasks."""
    named = "; ".join(f"{task}: {', '.join(runs)}" for task, runs in tasks.items())
    return f"the tasks differ ({named}), so only sizes, speeds and environments are compared"


def _names(folders: Sequence[Path]) -> list[str]:
    """Return the names of the folders, or their paths if two names are equal."""
    names = [folder.resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]


def _run_data(record: seqx.Record) -> Row:
    """Return the data of one run."""
    checked, metrics = _checked_data(record), record.metrics
    evaluations = metrics.last_evaluations
    scores = record.scores or {split: each.scores for split, each in evaluations.items() if split == "dev"}
    return {
        "folder": str(record.folder),
        "task": checked["task"],
        "finished": record.scores is not None,
        "updates": max(checked["updates"], metrics.step),
        "of": checked["steps"],
        "failed": None if record.scores is not None else metrics.failed,
        "parameters": checked["parameters"] or metrics.start.get("parameters"),
        "best": record.progress.best,
        "best_step": record.progress.best_step,
        "metrics": _metrics_interval(record.recipe),
        "recorded": bool(metrics.start),
        "metrics_problem": metrics.problem,
        "scored_at": None
        if record.scores is not None or "dev" not in evaluations
        else evaluations["dev"].step,
        "scores": {
            split: {name: score.to_json() for name, score in named.items()} for split, named in scores.items()
        },
        "perplexity": {split: evaluations[split].perplexity for split in scores if split in evaluations},
        "tokens_per_second": metrics.tokens_per_second,
        "seconds": record.progress.seconds or None,
        "published": checked["published"],
        "compared": [asdict(candidate) for candidate in record.compared],
        "model": ", compared with the ".join(map(str, record.compared)) or None,
        "vocabulary": record.vocabulary,
        "only_empty_outputs": [*_splits_with_only_empty_outputs(record)],
    }


def _splits_with_only_empty_outputs(record: seqx.Record) -> Iterator[str]:
    """Yield the splits whose outputs, as the finished run wrote them, are all empty."""
    for split in record.scores or ():
        file = record.folder / "outputs" / f"{split}.txt"
        if file.is_file() and not any(line.strip() for line in seqx.read_lines(file)):
            yield split


def empty_outputs_note(row: Row) -> str | None:
    """Return a note about splits with only empty outputs, without the name of the run, or None."""
    splits = row.get("only_empty_outputs")  # missing in the data of earlier versions
    if not splits:
        return None
    named = " and ".join(splits)
    return (
        f"all outputs for {named} are empty, so its {named} scores are those of a model that answers nothing"
    )


def _checked_data(record: seqx.Record) -> _CheckedData:
    """Check the data of a run's files.

    Raises:
        UserError: a value has another type
    """
    data = {
        "task": record.recipe["task"]["type"],
        "updates": record.progress.step,
        "steps": record.recipe["training"]["steps"],
        "parameters": record.parameters,
        "published": record.recipe.get("published"),
    }
    try:
        return _CHECKED_DATA.validate_python(data)
    except ValidationError as error:
        raise seqx.UserError(
            f"{record.folder}: cannot be read ({seqx.first_error(error, data)}); compare this run with the "
            "version of seqx that wrote it"
        ) from None


def _differences(first: seqx.Record, other: seqx.Record) -> Row:
    """Return the differences of a run from the first one; the lists of starts are not compared."""
    recipes = [{**record.recipe, "published": None} for record in (first, other)]
    environments = [
        {
            **record.environment,
            "starts": None,
            **{name: record.metrics.start.get(name) for name in ("device", "precision")},
        }
        for record in (first, other)
    ]
    return {"recipe": seqx.differences(*recipes), "environment": seqx.differences(*environments)}


def _sources(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the sources of the published scores."""
    sources: dict[str, list[str]] = {}
    for row in rows:
        if row["published"]:
            sources.setdefault(row["published"]["source"], []).append(row["run"])
    for source, runs in sources.items():
        yield f"published, in parentheses: {source}" + (f" ({', '.join(runs)})" if len(sources) > 1 else "")


def signature_notes(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the signature of each score without its results; if a score has several, list their runs.

    Scores of different splits are not compared, so their signatures may differ.
    """
    found: dict[str, dict[str, list[str]]] = {}
    by_split: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        for split, named in row["scores"].items():
            for name, score in named.items():
                settings = score_settings(score)
                found.setdefault(name, {}).setdefault(settings, []).append(f"{row['run']} {split}")
                by_split.setdefault((name, split), set()).add(settings)
    lines: dict[str, list[str]] = {}
    for name, signatures in found.items():
        for settings, where in signatures.items():
            line = settings + (f" ({', '.join(dict.fromkeys(where))})" if len(signatures) > 1 else "")
            lines.setdefault(line, []).append(name)
        if any(len(each) > 1 for (other, _), each in by_split.items() if other == name):
            lines.setdefault("scores with different signatures cannot be compared", []).append(name)
    yield from (f"{', '.join(names)}: {line}" for line, names in lines.items())


def _models(rows: Sequence[Row]) -> Iterator[str]:
    """Yield a line for each run that compared several sets of weights to choose its model."""
    for row in rows:
        if row.get("model"):  # missing in the data of earlier versions
            yield f"{row['run']}: the model is the {row['model']}"


def _score_source(row: Row) -> str:
    """Return a text about the source of an unfinished run's scores."""
    if row["scored_at"] is not None:
        return f"its scores are those of the validation at update {row['scored_at']:,}"
    if row["best"] is not None:
        return f"its best score in validation is {row['best']:.2f}, at update {row['best_step']:,}"
    return "not scored yet"


def _unknown_speed_reason(row: Row) -> str:
    """Return the reason why the speed of a run is unknown."""
    if row["metrics"] is None:
        return "its recipe has no callback `metrics`"
    if row.get("metrics_problem"):
        return "its `metrics.jsonl` is damaged"
    if not row["recorded"]:
        return "its `metrics.jsonl` is missing or has no complete line"
    return f"its callback `metrics` has recorded no update yet (it records every {row['metrics']:,} updates)"


def _metrics_interval(recipe: Mapping[str, Any]) -> int | None:
    """Return the number of updates per line of the callback `metrics`; None without this callback."""
    callbacks = recipe.get("callbacks")
    for callback in callbacks if isinstance(callbacks, list) else []:
        if isinstance(callback, dict) and callback.get("type") == "metrics":
            every = callback.get("every")
            return every if isinstance(every, int) else 0
    return None


def _warnings(rows: Sequence[Row]) -> Iterator[str]:
    """Yield warnings about unfinished runs, empty outputs, unknown speeds and incomparable perplexities."""
    for row in rows:
        if row.get("metrics_problem"):  # missing in the data of earlier versions
            yield row["metrics_problem"]
        if not row["finished"]:
            failure = f"; it {row['failed']}" if row["failed"] else ""
            yield f"{row['run']}: not finished, {_score_source(row)}{failure}"
        if empty := empty_outputs_note(row):
            yield f"{row['run']}: {empty}"
        if row["tokens_per_second"] is None and row["updates"]:
            yield f"{row['run']}: {_unknown_speed_reason(row)}, so its speed is unknown"
    if (
        len({row["vocabulary"] for row in rows}) > 1
        and len(tasks_of(rows)) == 1
        and any(value is not None for row in rows for value in row["perplexity"].values())
    ):
        yield "perplexity: the runs have different vocabularies, so their perplexities cannot be compared"
