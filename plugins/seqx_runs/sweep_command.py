"""The command `seqx sweep`."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import click
import torch

import seqx
from seqx_runs.comparison_page import write_page
from seqx_runs.comparison_table import TableFormat, format_table
from seqx_runs.sweep_check import check_folders, checked_recipes
from seqx_runs.sweep_file import read_sweep
from seqx_runs.sweep_jobs import Scheduler, write_jobs
from seqx_runs.sweep_runner import Runner, stopped_so_far
from seqx_runs.sweep_state import TrialState
from seqx_runs.sweep_table import Results
from seqx_runs.sweep_trials import Sweep
from seqx_runs.table_options import check_table_options, table_options


@click.command(epilog="Example: seqx sweep sweep.yaml --jobs 2")
@click.argument("sweep_file", metavar="SWEEP", type=click.Path(path_type=Path))
@click.argument("overrides", metavar="[KEY=VALUE]...", nargs=-1)
@click.option(
    "--folder",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the sweep, with the run folders in it.  [default: runs/SWEEP]",
)
@click.option(
    "--jobs",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="N",
    help="Number of trials at the same time; they divide the CPUs and GPUs of this machine.",
)
@seqx.device_option
@click.option("--show", is_flag=True, help="Run nothing; print the table of the trials so far.")
@click.option(
    "--write",
    type=(click.Choice(["slurm", "skypilot"]), seqx.OutputPath(is_empty=True)),
    metavar="slurm|skypilot DIR",
    help="Run nothing; write files with which a scheduler runs the unfinished trials to DIR, a new or empty "
    "folder.",
)
@table_options
@click.option(
    "--html",
    type=seqx.OutputPath(is_file=True, replaces=r'.*<meta name="generator" content="seqx '),
    metavar="FILE",
    help="HTML page with the table and curves.  [default: FOLDER/report.html, unless --show is set]",
)
@click.pass_context
def sweep(
    ctx: click.Context,
    /,
    sweep_file: Path,
    overrides: Sequence[str],
    *,
    folder: Path | None,
    jobs: int,
    device: str,
    show: bool,
    write: tuple[Scheduler, Path] | None,
    table_format: TableFormat | None,
    as_json: bool,
    all_scores: bool,
    html: Path | None,
) -> None:
    """Train a recipe with several settings and seeds, and compare the results.

    SWEEP is a YAML file with a recipe, and with lists of values for some of its settings:

    \b
        recipe: wmt_en_de
        profile: sample
        settings:
          model.d_model: [64, 128]
        seeds: 3

    Each combination of values and seeds is a trial, which `seqx run` trains. All trials are checked before
    the first one starts. Run the same command again to resume; finished trials are not repeated. KEY=VALUE
    changes a setting of all trials. The exit code is 1 if a trial failed, and 75 if a signal stopped the
    trials.
    """  # noqa: D301  \b keeps the lines of the example
    check_table_options(ctx)
    if show and write:
        raise click.UsageError("--show and --write exclude each other; remove one of them", ctx)
    found = read_sweep(sweep_file, folder, overrides)
    report = partial(click.echo, err=True)
    recipes = checked_recipes(found, report)
    check_folders(found)
    steps = max(recipe["training"]["steps"] for recipe in recipes.values())
    if write:
        _write_jobs(found, *write, jobs, f"seqx sweep {sweep_file} --folder {found.folder} --show")
        return
    runner = Runner(jobs=jobs, device=device, report=report, gpus=torch.cuda.device_count())
    stopped = stopped_so_far(found, steps) if show else runner.run(found, steps)
    results = Results(
        sweep=found,
        states={trial: TrialState.read(trial) for trial in found.trials},
        stopped=stopped,
        failed=runner.failed,
        all_scores=all_scores or as_json,
    )
    page = html or (None if show else found.folder / "report.html")
    if page is not None:
        _write_page(page, results)
    _print(results, table_format, as_json=as_json)
    ctx.exit(1 if runner.failed else 0)


def _write_jobs(found: Sweep, scheduler: Scheduler, folder: Path, jobs: int, show: str) -> None:
    """Write the files of a scheduler, and print `show`, the command for the results."""
    if found.halving is not None:
        raise seqx.UserError(
            f"{found.name}: `halving` compares trials while they run, which a scheduler cannot; remove it"
        )
    trials = [trial for trial in found.trials if not TrialState.read(trial).finished]
    if not trials:
        click.echo("all trials are finished; nothing was written", err=True)
        return
    for file in write_jobs(scheduler, folder, found.name, trials, jobs):
        click.echo(file)
    click.echo(f"{len(trials)} trials; `{show}` prints the table of finished trials", err=True)


def _write_page(page: Path, results: Results) -> None:
    found = results.sweep
    write_page(
        page,
        title=f"Sweep {found.name}",
        columns=results.columns(),
        notes=[results.common_settings(), *results.signatures(), *results.notes()],
        curves={str(each): [trial.folder for trial in found.of(each)] for each in found.configurations},
    )
    click.echo(f"report: {page}", err=True)


def _print(results: Results, table_format: TableFormat | None, *, as_json: bool) -> None:
    if as_json:
        click.echo(seqx.json_text(results.as_json(), indent=2, ensure_ascii=False))
        return
    notes = [*results.signatures(), *results.notes()]
    lines = [*format_table(results.columns(), table_format or "markdown", notes)]
    if not table_format and notes:
        lines += ["", *notes]
    click.echo("\n".join(lines))
