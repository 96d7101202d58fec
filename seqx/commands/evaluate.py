"""The command `seqx evaluate`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from seqx.commands.arguments import is_text_file, split_overrides
from seqx.commands.model_options import ModelOptions, model_options
from seqx.commands.next_commands import scores_single_answers
from seqx.commands.output_path import OutputPath, check_outside
from seqx.data.held_out import held_out_warnings
from seqx.errors import UserError
from seqx.inference.loading import model_folder
from seqx.interfaces.scores import Answer, Score
from seqx.storage.atomic import write_atomically
from seqx.storage.cache_folder import default_cache
from seqx.storage.json_format import json_text

_STRING = r'"([^"\\]|\\.)*'  # a JSON string without its end
_CUT = r"\\?\Z"  # the text is longer than what is read of the file
_SENTENCES = rf'\{{"input": {_STRING}(", "output": {_STRING}(", "references": |{_CUT})|{_CUT})'


@click.command(epilog="Example: seqx evaluate runs/wmt_en_de-sample/model search.size=8")
@click.argument("arguments", metavar="MODEL... [KEY=VALUE...]", nargs=-1, required=True)
@click.option(
    "--split",
    type=click.Choice(["test", "dev", "train"]),
    default="test",
    show_default=True,
    help="The split to score.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the scores as JSON.")
@click.option(
    "--sentences",
    type=OutputPath(is_file=True, replaces=_SENTENCES),
    metavar="FILE",
    help="Write each input with its answer, references and scores to FILE, as JSON lines.",
)
@click.pass_context
@model_options
def evaluate(
    ctx: click.Context,
    /,
    arguments: Sequence[str],
    *,
    split: str,
    as_json: bool,
    sentences: Path | None,
    options: ModelOptions,
) -> None:
    """Score a model on a split of its corpus.

    MODEL is the folder of a model or of a finished run; several models form an ensemble. KEY=VALUE changes a
    setting of the search or the task, such as search.size=8 or task.metrics=[bleu]. Print each score with the
    signature of its metric. Print the device and the number format of the computation on standard error.
    """
    models, overrides = split_overrides(arguments)
    if not models:
        raise click.UsageError("name a model before KEY=VALUE", ctx)
    if files := [name for name in models if is_text_file(name)]:
        raise UserError(
            f"{files[0]}: is a file, not a model; this command scores a split of the model's corpus "
            "(--split); `seqx score` scores a file of outputs"
        )
    if sentences is not None:
        check_outside(sentences, *map(model_folder, map(Path, models)), option="--sentences")
    predictor = options.load(models, overrides, lenient=True)
    if sentences is not None and not scores_single_answers(type(predictor.task)):
        name = type(predictor.task).__name__
        raise UserError(f"--sentences: the task {name} has no scores of single answers; leave it out")
    computation = f"on {predictor.device} in {predictor.precision} (--precision {options.precision})"
    if options.engine is not None:
        computation = f"by {options.engine} in {options.compute or 'fp32'} (--engine {options.engine})"
    click.echo(f"{split}: answers are computed {computation}", err=True)
    predictor.task.fetch(default_cache() / "corpora", _print_progress, splits=(split,))
    rows = predictor.task.read_split(split)
    evaluation = predictor.task.evaluate(predictor, rows)
    scores = evaluation.scores
    if sentences is not None:
        _write_sentences(sentences, evaluation.answers, predictor.task.answer_scores(evaluation.answers))
    answer_warnings = [f"{split}: {warning}" for warning in evaluation.warnings if warning.count]
    for warning in (*held_out_warnings(predictor.task, rows), *answer_warnings):
        click.echo(warning, err=True)
    if as_json:
        plain = {name: score.to_json() for name, score in scores.items()}
        click.echo(json_text({split: plain}, indent=2, ensure_ascii=False))
        return
    for name, score in scores.items():
        click.echo(f"{name} {score}")


def _write_sentences(file: Path, answers: Sequence[Answer], scores: Sequence[Mapping[str, Score]]) -> None:
    """Write each answer with its scores as a JSON line."""
    rows = (
        {
            "input": answer.input,
            "output": answer.output,
            "references": [answer.reference, *answer.more_references],
            "scores": {name: score.value for name, score in of_answer.items()},
        }
        for answer, of_answer in zip(answers, scores, strict=True)
    )
    write_atomically(file, "".join(json_text(row, ensure_ascii=False) + "\n" for row in rows))


def _print_progress(step: str, fraction: float | None) -> None:
    """Print each step of fetching the corpus, but not the progress within a file."""
    if fraction is None:
        click.echo(step, err=True)
