"""`seqx evaluate`."""

from collections.abc import Sequence
from typing import Literal

import click

from seqx.commands.arguments import parted, texts, trust
from seqx.data.cache import default_cache
from seqx.data.held_out import held_out_warnings
from seqx.errors import UserError
from seqx.inference import load
from seqx.storage.json_format import json_text


@click.command()
@click.argument("arguments", metavar="MODEL... [KEY=VALUE...]", nargs=-1, required=True)
@click.option("--split", type=click.Choice(["test", "dev", "train"]), default="test", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Scores as JSON.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, ...")
@click.option("--precision", type=click.Choice(["auto", "bf16", "fp32"]), default="auto", show_default=True)
@click.option("--batch-tokens", type=click.IntRange(1), metavar="N", help="Places of a batch.")
@trust
@click.pass_context
def evaluate(
    ctx: click.Context,
    /,
    arguments: Sequence[str],
    *,
    split: str,
    as_json: bool,
    device: str,
    precision: Literal["auto", "bf16", "fp32"],
    batch_tokens: int | None,
    trust_local_plugins: bool,
) -> None:
    """Score a model on a split of its corpus.

    Several MODELs are scored as one. A KEY=VALUE changes a setting of the search or the task, as
    search.size=8 or task.metrics=[bleu]. Each score comes with the signature that says how it was computed.
    """
    models, overrides = parted(arguments)
    if not models:
        raise click.UsageError("name a model before its KEY=VALUE", ctx)
    if files := [name for name in models if texts(name)]:
        raise UserError(
            f"{files[0]}: is a file, not a model; this command scores a split of the model's corpus "
            "(--split); `seqx score` scores a file of outputs"
        )
    predictor = load(
        models,
        device=device,
        precision=precision,
        overrides=overrides,
        batch_tokens=batch_tokens,
        lenient=True,
        trust_local_plugins=trust_local_plugins,
    )
    predictor.task.fetch(default_cache() / "corpora", _tell, splits=(split,))
    rows = predictor.task.read_split(split)
    evaluation = predictor.task.evaluate(predictor, rows)
    scores = evaluation.scores
    about_answers = [f"{split}: {warning}" for warning in evaluation.warnings if warning.count]
    for warning in (*held_out_warnings(predictor.task, rows), *about_answers):
        click.echo(warning, err=True)
    if as_json:
        found = {name: score.to_json() for name, score in scores.items()}
        click.echo(json_text({split: found}, indent=2, ensure_ascii=False))
        return
    for name, score in scores.items():
        click.echo(f"{name} {score}")


def _tell(what: str, share: float | None) -> None:
    """What is being fetched, once: evaluation has no progress of its own."""
    if share is None:
        click.echo(what, err=True)
