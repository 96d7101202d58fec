"""The model card of an exported model."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import yaml

import seqx

_NOT_STATED = {"license": "other", "license_name": "not-stated"}


def write_card(
    model: seqx.TrainedModel,
    folder: Path,
    program: str,
    packages: Sequence[str],
    code: str,
    notes: Iterable[str] = (),
) -> None:
    """Write README.md: code that uses the model, scores with signatures, licence and recipe.

    Args:
        model: the model
        folder: the exported folder
        program: the name of the program that reads the folder
        packages: the packages that the code needs
        code: lines of Python that use the model in this folder
        notes: paragraphs about settings of the recipe that the folder does not have
    """
    stated = {"license": model.license.lower()} if model.license else _NOT_STATED
    licence = (
        f"The licence is {model.license}."
        if model.license
        else "No licence is stated; fill in `license` above, or name one with `seqx export --license`."
    )
    fields = {"library_name": packages[0], **stated, "tags": ["seqx"]}
    plain = yaml.safe_dump(dict(model.recipe), sort_keys=False, allow_unicode=True)
    sections = [
        f"---\n{yaml.safe_dump(fields, sort_keys=False)}---",
        f"# A model for {program}",
        "Trained with seqx, and exported by `seqx export`.",
        f"## Use\n\n```console\n$ pip install {' '.join(packages)}\n```\n\n```python\n{code}```",
        *_normalizers(seqx.describe(model.task)),
        *notes,
        "## Scores",
        _scores(model),
        "## Data and licence",
        f"The corpus is `task.corpus` of the recipe. {licence}",
        f"## Recipe\n\n```yaml\n{plain}```",
    ]
    (folder / "README.md").write_text("\n\n".join(sections) + "\n", encoding="utf-8")


def _normalizers(text: seqx.TextSpec) -> Iterator[str]:
    """Yield notes about normalizers, which the exported files do not contain."""
    if text.source_normalizers:
        names = ", ".join(text.source_normalizers)
        yield f"In training, {names} normalized the source. Apply the same to inputs; this folder does not."
    if text.target_normalizers:
        names = ", ".join(text.target_normalizers)
        yield f"In training, {names} normalized the target. So outputs are normalized, too."


def _scores(model: seqx.TrainedModel) -> str:
    """Return a table of the scores."""
    rows = [
        f"| {split} | {name} | {score.value:.2f} | `{_in_cell(score.signature)}` |"
        for split, scores in model.scores.items()
        for name, score in scores.items()
    ]
    if not rows:
        return "No scores were recorded."
    return "\n".join(["| split | metric | score | signature |", "|---|---|---|---|", *rows])


def _in_cell(text: str) -> str:
    """Escape the bars of a text for a cell of a Markdown table: a bar would end the cell, even in code."""
    return text.replace("|", r"\|")
