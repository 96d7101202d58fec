"""The command `seqx score`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from seqx.commands.arguments import (
    batch_tokens_option,
    device_option,
    precision_option,
    split_overrides,
    trust_option,
)
from seqx.commands.component_option import component_from_option
from seqx.commands.score_targets import print_target_scores
from seqx.data.held_out import empty_text_warnings
from seqx.errors import UserError
from seqx.inference import load
from seqx.interfaces.scores import Score
from seqx.interfaces.text import Metric
from seqx.runtime.precision import InferencePrecision
from seqx.storage.json_format import json_text
from seqx.storage.text_lines import read_lines


@click.command(epilog="Example: seqx score --metric bleu references.txt outputs.txt")
@click.argument("arguments", metavar="[KEY=VALUE...] FILE...", nargs=-1, required=True)
@click.option(
    "--metric", metavar="NAME", help="Compare outputs with references; `seqx components metric` lists all."
)
@click.option(
    "--source",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The sources of the outputs, for a metric that reads them. Only with --metric.",
)
@click.option("--sentences", is_flag=True, help="Print the scores of each line. Only with --metric.")
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="MODEL",
    help="Print the log-probability of each target. Repeat the option for an ensemble.",
)
@click.option("--tokens", is_flag=True, help="Print the log-probability of each token. Only with --model.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print JSON; with --sentences or --model one object per line."
)
@device_option
@precision_option
@batch_tokens_option
@trust_option
@click.pass_context
def score(
    ctx: click.Context,
    /,
    arguments: Sequence[str],
    *,
    metric: str | None,
    source: Path | None,
    sentences: bool,
    models: Sequence[str],
    tokens: bool,
    as_json: bool,
    device: str,
    precision: InferencePrecision,
    batch_tokens: int | None,
    trust_local_plugins: bool,
) -> None:
    """Score outputs against references, or targets with a model.

    With --metric: [KEY=VALUE...] REFERENCES... OUTPUTS. Line i of OUTPUTS is compared with line i of
    REFERENCES, or of several files of references. KEY=VALUE is a setting of the metric, such as
    lowercase=true; `seqx components metric NAME` explains all settings.

    With --model: [KEY=VALUE...] SOURCE TARGET. Print the natural log-probability of line i of TARGET, given
    line i of SOURCE; a language model needs TARGET alone. KEY=VALUE is a setting of the task.

    Files are UTF-8, and may be compressed with gzip, bzip2, xz or zstd.
    """
    names, settings = split_overrides(arguments)
    files = [Path(name) for name in names]
    if bool(models) == bool(metric):
        raise click.UsageError("name either --metric or --model", ctx)
    if (tokens and metric) or ((sentences or source) and models):
        raise click.UsageError("--tokens is for --model; --sentences and --source are for --metric", ctx)
    if metric:
        if len(files) < 2:
            raise click.UsageError(f"expected two files, REFERENCES and OUTPUTS, but got {len(files)}", ctx)
        scorer = component_from_option(Metric, "--metric", metric, settings)
        _print_metric(scorer, files, source, sentences=sentences, as_json=as_json)
        return
    if len(files) not in (1, 2):
        raise click.UsageError(
            f"expected SOURCE and TARGET, or TARGET alone, but got {len(files)} files", ctx
        )
    predictor = load(
        models,
        device=device,
        precision=precision,
        overrides=settings,
        batch_tokens=batch_tokens,
        trust_local_plugins=trust_local_plugins,
    )
    print_target_scores(predictor, files, tokens=tokens, as_json=as_json)


def _print_metric(
    metric: Metric, files: Sequence[Path], source: Path | None, *, sentences: bool, as_json: bool
) -> None:
    """Print the scores of outputs, the last file, against the references in the other files."""
    *references, outputs = (list(read_lines(file)) for file in files)
    sources = [] if source is None else [list(read_lines(source))]
    for file, texts in zip([*files[:-1], source], [*references, *sources], strict=False):
        if len(texts) != len(outputs) or not texts:
            raise UserError(
                f"{file} has {len(texts):,} lines and {files[-1]} has {len(outputs):,}; "
                f"each {'source' if file == source else 'reference'} needs one output"
            )
    for texts in sources:
        metric = metric.for_sources(texts)
    for texts in references:
        for warning in (*empty_text_warnings(texts, "references"), *metric.warnings(texts, outputs)):
            click.echo(warning, err=True)
    if sentences:
        _print_sentences(metric.sentence_scores(outputs, *references), as_json=as_json)
    elif as_json:
        scores = {name: value.to_json() for name, value in metric.compare(outputs, *references).items()}
        click.echo(json_text(scores, indent=2, ensure_ascii=False))
    elif len(references) > 1:
        for name, value in metric.compare(outputs, *references).items():
            click.echo(f"{name} {value}")
    else:
        click.echo(metric.report(outputs, references[0]), nl=False)


def _print_sentences(scores: Sequence[Mapping[str, Score]], *, as_json: bool) -> None:
    """Print the scores of each sentence: JSON lines, or values separated by tabs below a line of names."""
    if as_json:
        for row in scores:
            click.echo(json_text({name: score.value for name, score in row.items()}, ensure_ascii=False))
        return
    names = list(dict.fromkeys(name for row in scores for name in row))
    click.echo("\t".join(names))
    for row in scores:
        click.echo("\t".join(f"{row[name].value:.2f}" if name in row else "" for name in names))
