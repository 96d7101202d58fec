"""The content of the live view of a run: progress, curves, speed, memory, and the last outputs."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from rich.console import Console
from rich.text import Text

import seqx
from seqx_watch import lines
from seqx_watch.memory import memory_in_use
from seqx_watch.metrics import WindowMeans
from seqx_watch.series import Series, sparkline

_BAR = 30  # maximum characters of the progress bar
_CURVE = 24  # maximum characters of a curve
_ROWS_PER_TEXT = 2
_LABEL = 11  # characters of the label of a text
_BEFORE = 12  # characters shown before the first difference, if an equal beginning is left out
_AFTER = 20  # characters that a shown difference needs
_CONSOLE = Console()  # `Text.wrap` reads defaults from it


class LiveRows:
    """The rows that a terminal shows below the scrolling lines. `seqx_watch.terminal` draws them.

    Args:
        run: the run
    """

    def __init__(self, run: seqx.Run) -> None:
        self._steps, self._device = run.training.steps, run.device
        self._losses, self._scores = Series(), Series()
        self._score = self._best = ""  # the last score on the development set, and the best one
        self._texts: list[list[tuple[str, Text]]] = []  # labels and texts of each of the last outputs
        self._means: WindowMeans | None = None
        self._left = 0.0
        self._add_recorded(run)

    def _add_recorded(self, run: seqx.Run) -> None:
        """Add the points that a resumed run recorded before it was stopped."""
        if not run.done:
            return
        recorded = seqx.MetricsFile(run.folder).read()
        for line in recorded.updates:
            if line["step"] <= run.done:
                self._losses.add(line.get("loss", float("nan")))
        for evaluation in recorded.validations:
            if evaluation.step <= run.done:
                self._add_score(evaluation.scores)

    def add_means(self, means: WindowMeans, left: float) -> None:
        """Show the metrics of the last updates, and the remaining seconds."""
        self._means, self._left = means, left
        self._losses.add(means.loss)

    def add_evaluation(self, evaluation: seqx.Evaluation, best: str, answers: Iterable[seqx.Answer]) -> None:
        """Show the main score of a validation, the best one so far, and some answers."""
        self._add_score(evaluation.scores, best)
        self._texts = [*map(compared, answers)]

    def _add_score(self, scores: Mapping[str, seqx.Score], best: str = "") -> None:
        name, score = next(iter(scores.items()))
        self._scores.add(score.value)
        self._score, self._best = f"dev {name} {score.value:.2f}", f" ({best})" if best else ""

    def rows(self, width: int, ascii_only: bool = False) -> list[Text]:
        """Return the rows of the live view, each of at most `width` cells.

        Args:
            width: the width of the terminal
            ascii_only: the terminal cannot show other characters; leave out the curves
        """
        means = self._means
        if means is None:
            return []
        step = f"step {means.step}/{self._steps}, {seqx.format_duration(self._left)} left"
        curves = (
            ("", "") if ascii_only else (sparkline(s.points, _CURVE) for s in (self._losses, self._scores))
        )
        loss_curve, score_curve = curves
        fields = [
            f"loss {means.loss:.4f} {loss_curve}",
            *_score_fields(f"{self._score} {score_curve}".strip(), self._best, width),
            f"{means.tokens_per_second:,.0f} target tokens/s",
            f"memory {memory_in_use(self._device)}",
            f"perplexity {seqx.format_number(means.perplexity)}",
            f"rate {means.learning_rate:.2e}",
            f"padding {means.padding:.1%}",
            *([f"skipped {means.skipped}: loss or gradient not finite"] if means.skipped else []),
        ]
        texts = [
            row
            for of_answer in self._texts
            for label, text in _from_difference(of_answer, _ROWS_PER_TEXT * (width - _LABEL), ascii_only)
            for row in _labelled(label, text, width, ascii_only)
        ]
        return [bar(step, means.step / self._steps, width, ascii_only), *_flow(fields, width), *texts]


def bar(text: str, fraction: float | None, width: int, ascii_only: bool = False) -> Text:
    """Return a row with a text, a progress bar and a percentage; the bar fills the rest of the width.

    Args:
        text: the text before the bar
        fraction: the finished fraction; None if it is unknown, then there is no bar
        width: the width of the terminal
        ascii_only: the terminal cannot show other characters
    """
    if fraction is None:
        return Text(f"{text} ...")
    percentage = f" {fraction:6.1%}"
    size = min(_BAR, width - len(text) - len(percentage) - 1)
    filled = round(size * min(1.0, fraction))
    full, empty = ("#", "-") if ascii_only else ("━", "━")
    return Text.assemble(
        f"{text} ", (full * filled, "bar.complete"), (empty * (size - filled), "bar.back"), percentage
    )


def _flow(fields: Sequence[str], width: int) -> list[Text]:
    """Return rows with as many fields as fit beside each other."""
    rows: list[str] = []
    for field in map(str.strip, fields):
        if rows and len(rows[-1]) + 2 + len(field) <= width:
            rows[-1] += f"  {field}"
        else:
            rows.append(field)
    return [*map(Text, rows)]


def compared(answer: seqx.Answer) -> list[tuple[str, Text]]:
    """Return the labels and texts of an answer; the words in which output and reference differ are marked."""
    output, reference = lines.shortened(answer.output), lines.shortened(answer.reference)
    words: list[list[str]] = [re.findall(r"\S+\s*", text) for text in (output, reference)]
    if min(map(len, words)) == 1:  # such as text in Chinese, which has no spaces
        words = [[*output], [*reference]]
    a, b = ([word.strip() for word in text] for text in words)
    blocks = difflib.SequenceMatcher(a=a, b=b, autojunk=False).get_matching_blocks()
    marked = []
    for side, (own, style) in enumerate(zip(words, ("bold red", "bold green"), strict=True)):
        equal = {i for block in blocks for i in range(block[side], block[side] + block.size)}
        marked.append(Text.assemble(*((word, "" if i in equal else style) for i, word in enumerate(own))))
    source = Text(lines.shortened(answer.input))
    return [("input", source), ("output", marked[0]), ("reference", marked[1])]


def _score_fields(score: str, best: str, width: int) -> list[str]:
    """Return the last score and the best one as one field, or as two if one is too long for a row."""
    fits = len(score) + len(best) <= width
    return [f"{score}{best}"] if fits else [score, best.strip(" ()")]


def _from_difference(
    texts: Sequence[tuple[str, Text]], size: int, ascii_only: bool
) -> Iterator[tuple[str, Text]]:
    """Yield labels and texts; if `size` cells do not show the first difference, cut what is before it."""
    first = min((span.start for _, text in texts for span in text.spans), default=0)
    is_shown = first + _AFTER <= size
    for label, text in texts:
        if is_shown or not any(other.spans for _, other in texts) or label == "input":
            yield label, text
        else:
            wanted = max(0, first - _BEFORE)
            start = text.plain.rfind(" ", 0, wanted) + 1 or wanted
            yield label, Text.assemble("... " if ascii_only else "… ", text[start:])


def _labelled(label: str, text: Text, width: int, ascii_only: bool) -> list[Text]:
    """Return at most `_ROWS_PER_TEXT` rows of a text, beside its label."""
    size, ellipsis = max(1, width - _LABEL), "..." if ascii_only else "…"
    rows = [*text.wrap(_CONSOLE, size)]
    if len(rows) > _ROWS_PER_TEXT:
        last = rows[_ROWS_PER_TEXT - 1]
        last.truncate(max(0, size - len(ellipsis)))
        last.rstrip()
        last.append(ellipsis)
    labels = [f"{label:<{_LABEL}}", *[" " * _LABEL] * _ROWS_PER_TEXT]
    return [Text.assemble(head, row) for head, row in zip(labels, rows[:_ROWS_PER_TEXT], strict=False)]
