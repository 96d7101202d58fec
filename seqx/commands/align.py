"""The command `seqx align`."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import click

from seqx.commands.alignment_file import alignment_options
from seqx.commands.arguments import device_option, precision_option, split_overrides, trust_option
from seqx.commands.score_targets import parallel_lines, scored_example
from seqx.errors import UserError
from seqx.inference import Predictor, load
from seqx.inference.alignment import Agreement, Head, WordAligner, check_links, format_links, read_links
from seqx.runtime.precision import InferencePrecision
from seqx.storage.json_format import json_text


@click.command(epilog="Example: seqx align runs/wmt_en_de-sample/model source.txt target.txt")
@click.argument("arguments", metavar="MODEL [KEY=VALUE...] SOURCE TARGET", nargs=-1, required=True)
@click.option(
    "--gold",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Gold alignments; print how well each layer and head agrees with them, best first.",
)
@alignment_options[0]
@alignment_options[1]
@click.option("--json", "as_json", is_flag=True, help="With --gold, print the table as JSON.")
@device_option
@precision_option
@trust_option
@click.pass_context
def align(
    ctx: click.Context,
    /,
    arguments: Sequence[str],
    *,
    gold: Path | None,
    layer: int | None,
    head: int | None,
    as_json: bool,
    device: str,
    precision: InferencePrecision,
    trust_local_plugins: bool,
) -> None:
    """Align the words of sentence pairs by the cross-attention of a model.

    Print the links of line i of SOURCE and line i of TARGET in Pharaoh's format: 0-1 links the first source
    word with the second target word. Words are separated by white space.

    With --gold, print a table of the layers and heads: their alignment error rate (AER), precision and
    recall. In FILE, 0-1 is a sure link, and 0p1 a possible one. Pass the best layer and head as --layer and
    --head.
    """
    names, overrides = split_overrides(arguments)
    if len(names) != 3:
        raise click.UsageError(f"expected MODEL, SOURCE and TARGET, but got {len(names)} names", ctx)
    if gold is None and as_json:
        raise click.UsageError("--json needs --gold", ctx)
    if gold is not None and (layer, head) != (None, None):
        raise click.UsageError("--gold compares all layers and heads; leave out --layer and --head", ctx)
    predictor = load(
        names[0],
        device=device,
        precision=precision,
        overrides=overrides,
        trust_local_plugins=trust_local_plugins,
    )
    files = [Path(name) for name in names[1:]]
    if gold is not None:
        _print_table(_agreements(predictor, [*files, gold]), as_json=as_json)
        return
    aligner = WordAligner(predictor, layer, head)
    for number, (source, target) in enumerate(parallel_lines(files), 1):
        example = scored_example(predictor, files, number, (source, target))
        links = None if example is None else aligner.links(example, source, target)
        click.echo(format_links(links or ()))


def _agreements(predictor: Predictor, files: Sequence[Path]) -> dict[Head, Agreement]:
    """Return how well each head agrees with gold alignments.

    Args:
        predictor: the model
        files: source, target and gold alignments
    """
    agreements: dict[Head, Agreement] = defaultdict(Agreement)
    aligner = WordAligner(predictor)
    for number, (source, target, line) in enumerate(parallel_lines(files), 1):
        example = scored_example(predictor, files[:2], number, (source, target))
        try:
            gold = read_links(line)
            check_links(gold, source, target)
        except UserError as error:
            raise UserError(f"{files[2]}:{number}: {error}") from None
        if example is not None:
            for head, links in aligner.links_of_heads(example, source, target).items():
                agreements[head].add(links, gold)
    if not any(agreement.sure for agreement in agreements.values()):
        raise UserError(
            f"{files[2]}: no line has a sure link, such as 0-1, so that no error rate can be computed; name "
            "a file with gold alignments"
        )
    return agreements


def _print_table(agreements: dict[Head, Agreement], *, as_json: bool) -> None:
    """Print precision, recall and error rate of each head, the best one first."""
    rows = sorted(agreements.items(), key=lambda row: row[1].error_rate)
    if as_json:
        table = [
            {
                "layer": head.layer,
                "head": head.head,
                "aer": agreement.error_rate,
                "precision": agreement.precision,
                "recall": agreement.recall,
            }
            for head, agreement in rows
        ]
        click.echo(json_text(table, indent=2))
        return
    click.echo("layer\thead\tAER\tprecision\trecall")
    for head, agreement in rows:
        values = (agreement.error_rate, agreement.precision, agreement.recall)
        click.echo(
            f"{head.layer}\t{head.head or 'mean'}\t" + "\t".join(f"{100 * value:.1f}" for value in values)
        )
