"""The command `seqx score`."""

from collections.abc import Sequence
from pathlib import Path

import click

from seqx.commands.arguments import split_overrides
from seqx.commands.component_option import component_from_option
from seqx.data.held_out import empty_texts
from seqx.errors import UserError
from seqx.interfaces.text import Metric
from seqx.storage.json_format import json_text
from seqx.storage.text_lines import read_lines


@click.command()
@click.argument("arguments", metavar="[KEY=VALUE...] REFERENCES OUTPUTS", nargs=-1, required=True)
@click.option(
    "--metric", required=True, metavar="NAME", help="The metric; `seqx components metric` lists all."
)
@click.option("--json", "as_json", is_flag=True, help="Print the scores as JSON.")
@click.pass_context
def score(ctx: click.Context, /, arguments: Sequence[str], *, metric: str, as_json: bool) -> None:
    """Score a file of outputs against a file of references.

    Line i of OUTPUTS is compared with line i of REFERENCES. Both files are UTF-8, and may be compressed with
    gzip, bzip2, xz or zstd. KEY=VALUE is a setting of the metric, such as lowercase=true; `seqx components
    metric NAME` explains all settings.
    """
    names, settings = split_overrides(arguments)
    files = [Path(name) for name in names]
    if len(files) != 2:
        raise click.UsageError(f"expected two files, REFERENCES and OUTPUTS, but got {len(files)}", ctx)
    scorer = component_from_option(Metric, "--metric", metric, settings)
    references, outputs = (list(read_lines(file)) for file in files)
    if len(references) != len(outputs) or not references:
        raise UserError(
            f"{files[0]} has {len(references):,} lines and {files[1]} has {len(outputs):,}; "
            "each reference needs one output"
        )
    for warning in (*empty_texts(references, "references"), *scorer.warnings(references, outputs)):
        click.echo(warning, err=True)
    if not as_json:
        click.echo(scorer.report(outputs, references), nl=False)
        return
    scores = {name: value.to_json() for name, value in scorer(outputs, references).items()}
    click.echo(json_text(scores, indent=2, ensure_ascii=False))
