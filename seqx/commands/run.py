"""`seqx run`."""

from pathlib import Path

import click

from seqx.cli import INTERRUPTED
from seqx.commands.opening import opened, profile
from seqx.experiment import run as run_experiment
from seqx.runs import RunFolder


@click.command()
@click.argument("recipe")
@click.argument("overrides", metavar="[KEY=VALUE]...", nargs=-1)
@profile
@click.option(
    "--folder", metavar="DIR", type=click.Path(path_type=Path), help="Where the run keeps what it makes."
)
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, ...")
@click.pass_context
def run(
    ctx: click.Context,
    /,
    recipe: str,
    overrides: tuple[str, ...],
    *,
    profile: str | None,
    folder: Path | None,
    device: str,
) -> None:
    """Prepare, train, average and test what RECIPE says; the same command resumes.

    RECIPE is a file, or the name of a recipe that comes with seqx. The run is kept in runs/RECIPE[-PROFILE]
    unless --folder names another place.
    """
    found = opened(recipe, profile, overrides)
    name = found.recipe.name + (f"-{profile}" if profile else "")
    place = folder or Path("runs", name)
    done = RunFolder(place).finished(found.made) is not None
    try:
        scores = run_experiment(found.made, found.plugins, name=name, folder=place, device=device)
    except KeyboardInterrupt:
        click.echo(f"{place}: interrupted; the same command goes on", err=True)
        ctx.exit(INTERRUPTED)
    if done:
        click.echo(f"{place}: this run is finished; its scores:")
    for split, named in scores.items():
        for metric, score in named.items():
            click.echo(f"{split} {metric} {score}")
    published = found.made.plain()["published"] or {}
    for split in scores:
        for metric, value in (published.get(split) or {}).items():
            click.echo(f"published {split} {metric} {value:.2f}  {published['source']}")
    click.echo(f"model: {place / 'model'}")
