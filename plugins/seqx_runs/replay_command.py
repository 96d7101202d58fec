"""The command `seqx replay`."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.live import Live
from rich.text import Text

import seqx
from seqx_runs.replay_text import plain_replay, replay_lines
from seqx_runs.replayed import Order, Replayed


@click.command(epilog="Example: seqx replay runs/wmt_en_de-sample 100 --top 3")
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("step", metavar="STEP", type=click.IntRange(1))
@click.option(
    "--top",
    metavar="N",
    type=click.IntRange(0),
    default=10,
    show_default=True,
    help="Number of sentences to show, the worst first; 0: all.",
)
@click.option(
    "--by",
    type=click.Choice(["gradient", "loss", "token-loss"]),
    default="gradient",
    show_default=True,
    help="Rank sentences by the norm of their gradient, their loss, or their loss per target token.",
)
@click.option("--tokens", is_flag=True, help="Show the tokens of the sentences, too.")
@click.option(
    "--exact",
    is_flag=True,
    help="Repeat the updates from the newest checkpoint before STEP up to STEP, in memory, so that the "
    "weights are those of the run.",
)
@click.option(
    "--undone", is_flag=True, help="Show the update STEP that the run has undone when it rolled back."
)
@click.option(
    "--no-losses", is_flag=True, help="Only list the sentences, in their order in the batch; compute nothing."
)
@seqx.device_option
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@seqx.trust_option
def replay(
    run: Path,
    step: int,
    *,
    top: int,
    by: Order,
    tokens: bool,
    exact: bool,
    undone: bool,
    no_losses: bool,
    device: str,
    as_json: bool,
    trust_local_plugins: bool,
) -> None:
    """Show the batch of update STEP of a run: its sentences, their losses and gradients.

    RUN is the folder of a run, finished or not; it is not changed. The sentences are those of the run for any
    STEP. Loss and gradient norm of the update are those of the run if there is a checkpoint of the update
    before it, or with --exact. Otherwise the weights of the nearest checkpoint are used, as the output says.
    """
    if no_losses and exact:
        raise click.UsageError("--no-losses computes nothing; leave out --exact or --no-losses")
    with _activity() as report:
        replayed = Replayed.compute(
            seqx.Replay(run, device=device, trust_local_plugins=trust_local_plugins, report=report),
            step,
            undone=undone,
            exact=exact,
            losses=not no_losses,
            order=by,
            top=top,
        )
    if problem := seqx.MetricsFile(run).read().problem:
        click.echo(problem, err=True)
    if as_json:
        click.echo(seqx.json_text(plain_replay(replayed), indent=2, ensure_ascii=False))
    else:
        click.echo("\n".join(replay_lines(replayed, tokens=tokens)))


@contextmanager
def _activity() -> Iterator[Callable[[str], None]]:
    """Provide a function that shows the current activity on a terminal, in one line that is removed."""
    console = Console(stderr=True)
    if not console.is_terminal or os.environ.get("TERM") == "dumb":
        yield lambda _: None
        return
    # A thread that redraws the line would interfere with processes that encode the text.
    with Live(
        console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
    ) as live:
        yield lambda activity: live.update(Text(activity), refresh=True)
