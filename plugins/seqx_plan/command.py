"""The command `seqx plan`."""

from collections.abc import Sequence

import click

import seqx
from seqx_plan import proposals
from seqx_plan.planner import Planner, Target
from seqx_plan.text import format_budget, format_fit, format_plan
from seqx_plan.workload import device_of


@click.command(epilog="Example: seqx plan wmt_en_de --profile sample")
@click.argument("recipe")
@click.argument("overrides", metavar="[KEY=VALUE]...", nargs=-1)
@seqx.profile_option
@click.option("--gpu", metavar="NAME", help="Plan for a GPU of the table of devices, such as h100.")
@click.option(
    "--devices",
    metavar="N",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Number of GPUs, or of processes on this machine, that train together.",
)
@click.option(
    "--budget", metavar="TIME", help="Propose the longest run within this time, such as 30m or 1h30m."
)
@click.option(
    "--assume",
    metavar="TOKENS",
    type=click.IntRange(1),
    help="Do not read the text; assume examples with this mean number of tokens in each column.",
)
@click.option(
    "--seconds",
    metavar="S",
    type=click.FloatRange(0, 600),
    default=4.0,
    show_default=True,
    help="Seconds to measure updates, and about as many to measure a validation.",
)
@click.option("--json", "as_json", is_flag=True, help="Print all data as JSON.")
def plan(
    recipe: str,
    overrides: Sequence[str],
    *,
    profile: str | None,
    gpu: str | None,
    devices: int,
    budget: str | None,
    assume: int | None,
    seconds: float,
    as_json: bool,
) -> None:
    """Predict memory, disk, time and energy of a run before it starts.

    RECIPE is a YAML file, or the name of a recipe of seqx. KEY=VALUE changes a setting. Without --gpu the
    speed is measured: some updates with the recipe's model and batches are computed on this machine. With
    --gpu it is computed from published data of the GPU. If the text is not on this machine, lengths are
    assumed.

    If the run does not fit into memory, settings with which it fits are proposed.
    """
    limit = None if budget is None else proposals.seconds_of(budget)
    target = Target(
        device=device_of("auto"), gpu=gpu, devices=devices, seconds=seconds, assumed_length=assume
    )
    planner = Planner(recipe, profile, overrides, target)
    result = planner.plan()
    if result.warning is not None:
        click.echo(f"{recipe}: {result.warning}", err=True)
    fitting = [] if result.memory.fits else proposals.fitting_proposals(planner, result)
    within = None if limit is None else proposals.within_budget(planner, result, limit)
    if as_json:
        found = [*fitting, *([within] if within else [])]
        made = [{"command": each.command(planner), "plan": each.plan.as_json()} for each in found]
        click.echo(seqx.json_text({**result.as_json(), "proposals": made}, indent=2, ensure_ascii=False))
        return
    for line in format_plan(result):
        click.echo(line)
    for line in () if result.memory.fits else format_fit(planner, result, fitting):
        click.echo(line)
    for line in () if limit is None else format_budget(planner, result, limit, within):
        click.echo(line)
