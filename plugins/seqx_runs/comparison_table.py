"""Tables of runs in Markdown, LaTeX and CSV."""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import seqx

SPLITS = ("dev", "test")
Row = Mapping[str, Any]
"""The data of one run, as `seqx compare --json` prints it."""

TableFormat = Literal["markdown", "latex", "csv"]
TABLE_FORMATS: Sequence[TableFormat] = ("markdown", "latex", "csv")

Value = str | int | float | None

_LATEX = str.maketrans(
    {
        **{character: f"\\{character}" for character in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": "$<$",
        ">": "$>$",
        "±": r"$\pm$",
    }
)


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a table.

    Args:
        name: the heading
        values: the unrounded values, for CSV
        texts: the formatted values; None: only CSV has this column
    """

    name: str
    values: Sequence[Value]
    texts: Sequence[str] | None


def format_table(
    columns: Sequence[Column], table_format: TableFormat, notes: Sequence[str] = ()
) -> Iterator[str]:
    """Yield the lines of a table.

    Args:
        columns: the columns
        table_format: the format; CSV has unrounded values, LaTeX needs the package booktabs
        notes: texts that LaTeX has as comments below the table
    """
    if table_format == "csv":
        yield from _csv_lines(columns)
        return
    shown = [column for column in columns if column.texts is not None]
    header = [column.name for column in shown]
    if table_format == "markdown":
        yield from seqx.markdown_table(header, [*zip(*(column.texts or () for column in shown), strict=True)])
        return
    yield r"% This table needs \usepackage{booktabs}."
    yield from _latex_lines(header, [*zip(*map(_latex_texts, shown), strict=True)])
    yield from (f"% {line}".rstrip() for note in notes for line in note.splitlines())


def run_columns(rows: Sequence[Row]) -> list[Column]:
    """Return the columns of the comparison of runs; without scores if the runs have different tasks."""
    published = [(row["published"] or {}).get("parameters") for row in rows]
    updates = [
        f"{row['updates']:,}" if row["finished"] else f"{row['updates']:,} of {row['of']:,}" for row in rows
    ]
    names = [row["run"] for row in rows]
    speeds, seconds = ([row[name] for row in rows] for name in ("tokens_per_second", "seconds"))
    columns = [
        Column(name="run", values=names, texts=names),
        *_with_published("parameters", [row["parameters"] for row in rows], published, "{:,.0f}".format),
        Column(name="updates", values=[row["updates"] for row in rows], texts=updates),
        Column(name="finished", values=[str(row["finished"]).lower() for row in rows], texts=None),
    ]
    for split in SPLITS if len(tasks_of(rows)) == 1 else ():
        for name in score_names(rows, split):
            columns += _score_columns(rows, split, name)
    return [
        *columns,
        *_with_published("tokens/s", speeds, [None] * len(rows), "{:,.0f}".format),
        *_with_published("time", seconds, [None] * len(rows), seqx.format_duration),
    ]


def score_settings(score: Mapping[str, Any]) -> str:
    """Return the signature of a recorded score without its results."""
    return seqx.signature_settings(score["signature"], score.get("results", ()))


def without_details(row: Row) -> Row:
    """Return the data of a run without scores that explain others and for which nothing was published."""
    details = {
        (split, name)
        for split, named in row["scores"].items()
        for name, score in named.items()
        if score.get("is_detail") and name not in _published(row, split)
    }
    kept = {
        key: {
            split: {name: value for name, value in named.items() if (split, name) not in details}
            for split, named in row[key].items()
        }
        for key in ("scores", "significance")
        if key in row
    }
    return {**row, **kept}


def tasks_of(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Return the names of the runs of each task; rows of earlier versions have no task."""
    tasks: dict[str, list[str]] = {}
    for row in rows:
        tasks.setdefault(row.get("task", ""), []).append(row["run"])
    return tasks


def score_names(rows: Sequence[Row], split: str) -> list[str]:
    """Return the names of all scores of a split in the order of the recipes, perplexity last."""
    names: dict[str, None] = {}
    for row in rows:
        names |= dict.fromkeys([*row["scores"].get(split, ()), *_published(row, split)])
    has_perplexity = any(row["perplexity"].get(split) is not None for row in rows) or "perplexity" in names
    return [name for name in names if name != "perplexity"] + ["perplexity"] * has_perplexity


def _score_columns(rows: Sequence[Row], split: str, name: str) -> Iterator[Column]:
    """Yield the columns of a score: its value, its published value and the p-value."""
    published = [_published(row, split).get(name) for row in rows]
    title = f"{split} {name}"
    if name == "perplexity":
        values = [row["perplexity"].get(split) for row in rows]
        yield from _with_published(title, values, published, _format_perplexity)
        return
    values = [row["scores"].get(split, {}).get(name, {}).get("value") for row in rows]
    yield from _with_published(title, values, published, "{:.2f}".format)
    p_values = [row.get("significance", {}).get(split, {}).get(name, {}).get("p_value") for row in rows]
    if any(value is not None for value in p_values):
        yield from _with_published(f"p ({title})", p_values, [None] * len(rows), "{:.3f}".format)


def _published(row: Row, split: str) -> Mapping[str, float]:
    """Return the published scores of a split by name."""
    return (row["published"] or {}).get(split) or {}


def _format_perplexity(value: float) -> str:
    return f"{float(seqx.format_number(value)):g}"


def _with_published(
    name: str, values: Sequence[Value], published: Sequence[float | None], form: Callable[[Any], str]
) -> Iterator[Column]:
    """Yield the columns of values and of published values; texts have the latter in parentheses."""
    texts = [
        ("-" if value is None else form(value)) + ("" if other is None else f" ({form(other)})")
        for value, other in zip(values, published, strict=True)
    ]
    yield Column(name=name, values=values, texts=texts)
    if any(other is not None for other in published):
        yield Column(name=f"published {name}", values=published, texts=None)


def _csv_lines(columns: Sequence[Column]) -> Iterator[str]:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(column.name for column in columns)
    writer.writerows(zip(*(column.values for column in columns), strict=True))
    yield from file.getvalue().splitlines()


def _latex_lines(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}"
    yield r"\toprule"
    yield _latex_row(header)
    yield r"\midrule"
    yield from map(_latex_row, rows)
    yield r"\bottomrule"
    yield r"\end{tabular}"


def _latex_texts(column: Column) -> list[str]:
    """Return the texts of a column, in which a missing value is a dash."""
    pairs = zip(column.values, column.texts or (), strict=True)
    return [f"-{text}" if value is None and text.startswith("-") else text for value, text in pairs]


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(cell.translate(_LATEX) for cell in cells) + r" \\"
