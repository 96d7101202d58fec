"""The command `seqx compare`."""

from collections.abc import Sequence
from pathlib import Path

import click

import seqx
from seqx_runs.comparison import (
    compare_runs,
    comparison_notes,
    differences_from_first,
    different_tasks_note,
    format_comparison,
)
from seqx_runs.comparison_page import write_page
from seqx_runs.comparison_significance import changed_sentences, named_sentences, with_significance
from seqx_runs.comparison_table import Row, TableFormat, format_table, run_columns, tasks_of, without_details
from seqx_runs.table_options import check_table_options, table_options


@click.command(epilog="Example: seqx compare runs/first runs/second")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@table_options
@click.option(
    "--resamples",
    type=click.IntRange(0),
    default=1000,
    show_default=True,
    metavar="N",
    help="Resamples of the paired bootstrap tests; 0: no tests.",
)
@click.option(
    "--sentences",
    type=click.IntRange(0),
    default=3,
    show_default=True,
    metavar="N",
    help="Number of sentences to show whose scores differ most.",
)
@click.option(
    "--html",
    type=seqx.OutputPath(is_file=True, replaces=r'.*<meta name="generator" content="seqx '),
    metavar="FILE",
    help="Also write an HTML page with the table, curves, differences and sentences to FILE.",
)
@seqx.trust_option
@click.pass_context
def compare(
    ctx: click.Context,
    /,
    runs: Sequence[Path],
    *,
    table_format: TableFormat | None,
    as_json: bool,
    all_scores: bool,
    resamples: int,
    sentences: int,
    html: Path | None,
    trust_local_plugins: bool,
) -> None:
    """Compare runs: scores, significance, speed, and differences between their recipes.

    A RUN is the folder of a run, finished or not. In the table, published scores from the recipe are in
    parentheses, and the columns p have the p-values of differences from the first RUN. Below the table, each
    run is compared with the first RUN: recipe and environment, with the values of the first RUN in
    parentheses, and the test sentences whose scores differ most. Scores are left out if the runs
    have different tasks.
    """
    check_table_options(ctx)
    rows = compare_runs(runs)
    if len(tasks_of(rows)) == 1 and len(rows) > 1 and (resamples or sentences):
        shown = 0 if table_format and html is None else sentences
        rows = with_significance(rows, resamples=resamples, sentences=shown, trust=trust_local_plugins)
    main_rows = rows if all_scores else [*map(without_details, rows)]
    if html is not None:
        _write_page(html, main_rows)
    if as_json:
        click.echo(seqx.json_text(rows, indent=2, ensure_ascii=False))
    else:
        _print(main_rows, table_format)


def _write_page(file: Path, rows: Sequence[Row]) -> None:
    tasks = tasks_of(rows)
    write_page(
        file,
        title=f"Comparison of {len(rows)} runs",
        columns=run_columns(rows),
        notes=[*([different_tasks_note(tasks)] if len(tasks) > 1 else []), *comparison_notes(rows)],
        curves={row["run"]: [Path(row["folder"])] for row in rows} if len(tasks) == 1 else {},
        differences=differences_from_first(rows),
        sentences=named_sentences(rows),
    )


def _print(rows: Sequence[Row], table_format: TableFormat | None) -> None:
    """Print the table alone in a format; without one, print the comparison as text."""
    if table_format is None:
        click.echo("\n".join([*format_comparison(rows), *changed_sentences(rows)]))
        return
    tasks = tasks_of(rows)
    if len(tasks) > 1:
        click.echo(different_tasks_note(tasks), err=True)
    click.echo("\n".join(format_table(run_columns(rows), table_format, comparison_notes(rows))))
