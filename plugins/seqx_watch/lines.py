"""Functions that format the state of a run as lines of plain text."""

from collections.abc import Iterator, Mapping

import seqx
from seqx_watch.metrics import WindowMeans

_MAX_TEXT = 400
"""The maximum number of characters of a text in the live view; longer texts are cut, with an ellipsis."""

_MAX_EXAMPLE = 147
"""The maximum number of cells of a text in an example: with its label, two lines of 80 cells."""


def plain(text: str) -> str:
    """Return the text on one line, without control characters."""
    return "".join(char if char.isprintable() else " " for char in text)


def opening(run: seqx.Run) -> Iterator[str]:
    """Yield the lines at the start of a run.

    They contain the sizes of model and data, the numbers of dropped rows, and the numbers of training rows
    that also occur in the development or test set.
    """
    config, store = run.training, run.store
    yield f"{run.name}: {run.parameters:,} parameters, on {run.device} in {run.precision}, in {run.folder}"
    yield (
        f"{len(store):,} training examples, {int(store.lengths('target').sum()):,} target tokens; "
        f"{run.updates:,} updates per epoch, {config.steps:,} in total"
    )
    if store.dropped:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in store.dropped.items())
        yield f"dropped {sum(store.dropped.values()):,} of {store.rows:,} rows: {reasons}"
    for split, shared in store.leaks.items():
        if shared["rows"] or any(shared["sides"]):
            sides = ", ".join(f"{count:,} (column {i})" for i, count in enumerate(shared["sides"]))
            rows = f"{shared['rows']:,} training rows"
            yield f"{rows} also occur in {split}; compared by a single column: {sides}"
    if run.done:
        yield f"resumed from update {run.done:,}"


def progress(means: WindowMeans, steps: int, left: float) -> str:
    """Format the step, the training metrics and the remaining time in columns."""
    skipped = f"  skipped {means.skipped}: loss or gradient not finite" if means.skipped else ""
    step, time = f"{means.step:>{len(str(steps))}}/{steps}", seqx.format_duration(left)
    return f"step {step}  {metrics(means)}  left {time:>8}{skipped}"


def metrics(means: WindowMeans) -> str:
    """Format the training metrics in columns."""
    return "  ".join(
        (
            f"loss {means.loss:7.4f}",
            f"perplexity {seqx.format_number(means.perplexity):>9}",
            f"rate {means.learning_rate:.2e}",
            f"{means.tokens_per_second:>9,.0f} target tokens/s",
            f"padding {means.padding:5.1%}",
        )
    )


def scores(evaluation: seqx.Evaluation, best: str = "") -> str:
    """Format the main scores of an evaluation; `best` is appended to the first one."""
    parts = [f"{name} {score.value:.2f}" for name, score in seqx.main_scores(evaluation.scores).items()]
    if parts and best:
        parts[0] += f" ({best})"
    if evaluation.perplexity is not None:
        parts.append(f"perplexity {seqx.format_number(evaluation.perplexity)}")
    return "  ".join(parts)


def examples(evaluation: seqx.Evaluation, count: int, validation: int) -> Iterator[str]:
    """Yield lines with the inputs, outputs and references of `count` answers, see `selected_answers`."""
    for answer in selected_answers(evaluation, count, validation):
        yield f"  input      {_fitting(answer.input)}"
        yield f"  output     {_fitting(answer.output)}"
        yield f"  reference  {_fitting(answer.reference)}"


def selected_answers(evaluation: seqx.Evaluation, count: int, validation: int) -> Iterator[seqx.Answer]:
    """Yield `count` answers of the split; each `validation` selects other ones."""
    answers = evaluation.answers
    for i in range(min(count, len(answers))):
        yield answers[(validation + i * max(1, len(answers) // count)) % len(answers)]


def shortened(text: str) -> str:
    """Return the text on one line, cut to at most `_MAX_TEXT` characters."""
    return plain(text if len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT - 3]}...")


def _fitting(text: str) -> str:
    """Return the text on one line, cut to at most `_MAX_EXAMPLE` cells; characters may have two."""
    from rich.cells import cell_len, set_cell_size  # noqa: PLC0415  `check` does not need it

    shown = shortened(text)
    fits = cell_len(shown) <= _MAX_EXAMPLE
    return shown if fits else f"{set_cell_size(shown, _MAX_EXAMPLE - 3).rstrip()}..."


def closing(results: Mapping[str, Mapping[str, seqx.Score]]) -> Iterator[str]:
    """Yield the scores of the final model with their signatures."""
    rows = [
        (split, name, score.value, score.signature)
        for split, named in results.items()
        for name, score in named.items()
    ]
    splits = max((len(split) for split, *_ in rows), default=0)
    names = max((len(name) for _, name, *_ in rows), default=0)
    for split, name, value, signature in rows:
        yield f"{split:<{splits}}  {name:<{names}}  {value:6.2f}  {signature}".rstrip()
