"""`seqx score`."""

from collections.abc import Sequence
from pathlib import Path

import click

from seqx.commands.arguments import parted
from seqx.commands.chosen import component
from seqx.data.held_out import empty_texts
from seqx.errors import UserError
from seqx.interfaces.text import Metric
from seqx.storage.json_format import json_text
from seqx.storage.text_lines import read_lines


@click.command()
@click.argument("arguments", metavar="[KEY=VALUE...] REFERENCES OUTPUTS", nargs=-1, required=True)
@click.option("--metric", required=True, metavar="NAME", help="See `seqx components metric`.")
@click.option("--json", "as_json", is_flag=True, help="Scores as JSON.")
@click.pass_context
def score(ctx: click.Context, /, arguments: Sequence[str], *, metric: str, as_json: bool) -> None:
    """Score a file of outputs against one of references.

    Line i of OUTPUTS is compared with line i of REFERENCES; both are UTF-8, plain or packed. A KEY=VALUE is
    a setting of the metric, as lowercase=true; `seqx components metric NAME` explains them.
    """
    names, settings = parted(arguments)
    files = [Path(name) for name in names]
    if len(files) != 2:
        raise click.UsageError(f"two files are wanted, REFERENCES and OUTPUTS; found {len(files)}", ctx)
    judge = component(Metric, "--metric", metric, settings)
    references, outputs = (list(read_lines(file)) for file in files)
    if len(references) != len(outputs) or not references:
        raise UserError(
            f"{files[0]} has {len(references):,} lines, {files[1]} {len(outputs):,}; "
            "each line of the one must answer a line of the other"
        )
    for remark in (*empty_texts(references, "references"), *judge.warnings(references, outputs)):
        click.echo(remark, err=True)
    if not as_json:
        click.echo(judge.report(outputs, references), nl=False)
        return
    found = {name: value.to_json() for name, value in judge(outputs, references).items()}
    click.echo(json_text(found, indent=2, ensure_ascii=False))
