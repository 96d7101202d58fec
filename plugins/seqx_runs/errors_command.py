"""The command `seqx errors`."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

import click

import seqx
from seqx_runs.marks import marked_parts, texts_of
from seqx_runs.run_answers import default_split


@click.command(epilog="Example: seqx errors runs/wmt_en_de-sample --examples 3")
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option(
    "--split",
    type=click.Choice(["test", "dev"]),
    help="The split whose outputs are compared.  [default: test, or dev if there is no test]",
)
@click.option(
    "--examples",
    metavar="N",
    type=click.IntRange(0, 20),
    default=1,
    show_default=True,
    help="Number of sentences that are shown for each group.",
)
@click.option("--json", "as_json", is_flag=True, help="Print all groups and examples as JSON.")
@seqx.trust_option
def errors(run: Path, *, split: str | None, examples: int, as_json: bool, trust_local_plugins: bool) -> None:
    """Group the mistakes in the outputs of a finished run.

    RUN is the folder of the run. The groups depend on its task. For texts they are, for example, wrong
    lengths, repeated phrases, copied words, wrong numbers, missing and extra words; for labels, one
    label instead of another; for trees, brackets by label and attachments. An answer can be in several
    groups. In the examples, double square brackets [[...]] mark the words that a mistake concerns.
    """
    if seqx.Record.read(run).scores is None:
        raise seqx.UserError(f"{run}: the run is not finished, so there are no outputs yet")
    split = split or default_split(run)
    recorded = seqx.RecordedAnswers.read(run, split, trust_local_plugins=trust_local_plugins)
    groups = recorded.task.mistakes(recorded.answers)
    if as_json:
        plain = _plain(split, recorded.answers, groups)
        click.echo(seqx.json_text(plain, indent=2, ensure_ascii=False))
        return
    click.echo("\n".join(_lines(split, recorded.answers, groups, examples)))


def _plain(split: str, texts: Sequence[seqx.Answer], groups: Sequence[seqx.MistakeGroup]) -> dict[str, Any]:
    """Return the groups as plain values; examples have the texts of their answers."""
    return {
        "split": split,
        "answers": len(texts),
        "groups": [
            {
                **asdict(group),
                "examples": [
                    {
                        "number": example.index + 1,
                        "detail": example.detail,
                        "marks": example.marks,
                        "input": texts[example.index].input,
                        "output": texts[example.index].output,
                        "references": [texts[example.index].reference, *texts[example.index].more_references],
                    }
                    for example in group.examples
                ],
            }
            for group in groups
        ],
    }


def _lines(
    split: str, texts: Sequence[seqx.Answer], groups: Sequence[seqx.MistakeGroup], examples: int
) -> Iterator[str]:
    """Yield the lines that the command prints: a heading for each category, then its groups."""
    different = sum(
        " ".join(each.output.split())
        not in {" ".join(text.split()) for text in (each.reference, *each.more_references)}
        for each in texts
    )
    yield f"{split}: {different:,} of {len(texts):,} answers differ from their reference"
    if not groups and different:
        yield "no group of mistakes: the task of this run defines none, or none applies"
    width = max((len(group.name) for group in groups), default=0)
    for category, members in groupby(groups, key=lambda group: group.category):
        yield ""
        yield f"{category}:"
        for group in members:
            share = 100 * group.count / max(1, group.total)
            yield f"  {group.name:<{width}}  {group.count:,} of {group.total:,} {group.unit} ({share:.1f}%)"
            for example in group.examples[:examples]:
                yield from _example(texts[example.index], example)


def _example(answer: seqx.Answer, example: seqx.Mistake) -> Iterator[str]:
    detail = f" {example.detail}" if example.detail else ""
    yield f"    {example.index + 1:,}:{detail}"
    for side, text in texts_of(answer, example).items():
        parts = marked_parts(text, example.marks.get(side, ()))
        shown = "".join(f"[[{part}]]" if is_marked else part for part, is_marked in parts)
        yield f"      {side + ':':<10} {shown}"
