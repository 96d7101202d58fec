"""The callback `progress`: a live view on a terminal, or plain lines, and the log of the run."""

import math
import os
import re
import sys
from collections.abc import Callable, Mapping
from time import monotonic
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge, Gt

import seqx
from seqx_watch import lines
from seqx_watch.metrics import Window
from seqx_watch.speed import INTERVAL, SpeedWatch

if TYPE_CHECKING:
    from seqx_watch.live_rows import LiveRows
    from seqx_watch.terminal import Terminal

_REFRESH = 1.0  # minimum seconds between updates of the terminal, each of which waits for the device


class ConsoleProgress(seqx.Callback):
    """Display of the progress of a run on standard error, and its record in `log.txt`.

    On a terminal a live view is redrawn in place: the progress and the remaining time, curves of the loss and
    of the main score on the development set, speed, memory, and the last outputs, with their differences from
    the references in colour. Scores and messages scroll above it. If standard error is not a terminal,
    progress, scores and outputs are printed as lines, without curves, memory and colours. Standard output has
    only the results of a command. A resumed run appends to the same log.

    If the speed of a run falls below a third of its median, one line gives the likely reason, such as other
    processes on the machine.

    Args:
        every: number of updates between two lines of metrics; null: use `seconds`
        seconds: minimum seconds between two lines of metrics, and between two lines about preparation
        examples: number of outputs shown after each validation, with their inputs and references
    """

    def __init__(
        self,
        *,
        every: Annotated[int, Gt(0)] | None = None,
        seconds: Annotated[float, Gt(0)] = 30.0,
        examples: Annotated[int, Ge(0)] = 2,
    ) -> None:
        self.every = every
        self.seconds = seconds
        self.examples = examples
        self._terminal: Terminal | None = None
        self._live: LiveRows | None = None  # its content
        self._speed: SpeedWatch | None = None
        self._warn: Callable[[str], None] | None = None
        self._last_update_time: float | None = None  # None: there was a pause since the last update
        self._seconds, self._tokens = 0.0, 0  # of training, since the last measurement of speed
        self._log: seqx.AppendOnlyFile | None = None
        self._lines_before_log: list[str] = []  # lines from before the log was opened
        self._topic = self._last_preparation = ""
        self._last_line_time = -math.inf
        self._last_drawn_time = -math.inf
        self._first: tuple[float, int] | None = None  # time and step of the first update since the start
        self._terminal_window, self._window = Window(), Window()
        self._best: tuple[float, int] | None = None
        self._validations = 0
        self._last_step = 0  # the last update

    def warn_with(self, warn: Callable[[str], None]) -> None:
        """Receive the function that prints and records the line about a slow run."""
        self._warn = warn

    @seqx.hookimpl
    def preparing(self, activity: str, fraction: float | None) -> None:
        """Show the current step of preparation when it changes, and at intervals."""
        terminal, text, now = self._open_terminal(), lines.plain(activity), monotonic()
        topic = re.sub(r"\d[\d,]*", "", text)  # the text without its changing counts
        is_new = topic != self._topic
        if terminal and (is_new or now - self._last_drawn_time >= _REFRESH or fraction == 1):
            self._draw_preparation(terminal, text, fraction)
            self._last_drawn_time = now
        line = text if fraction is None else f"{text} ({fraction:.0%})"
        if (
            is_new
            or now - self._last_line_time >= self.seconds
            or (fraction == 1 and line != self._last_preparation)
        ):
            self._write_line(line, terminal=False)
            self._topic, self._last_line_time, self._last_preparation = topic, now, line

    @seqx.hookimpl
    def started(self, run: seqx.Run) -> None:
        """Open the log, and show the sizes of model and data."""
        self._log = seqx.AppendOnlyFile(run.folder / "log.txt")
        for line in self._lines_before_log:
            self._log.write(line)
        self._lines_before_log.clear()
        for line in lines.opening(run):
            self._write_line(line)
        if run.best is not None:
            self._best = (run.best, run.best_step)
        self._first, self._last_line_time = None, monotonic()
        self._speed, self._last_update_time = SpeedWatch(run.device), None
        if self._open_terminal():
            from seqx_watch.live_rows import LiveRows  # noqa: PLC0415  only a terminal needs rich

            self._live = LiveRows(run)
        self._last_drawn_time = -math.inf
        self._last_step = run.done

    @seqx.hookimpl
    def updated(self, run: seqx.Run, update: seqx.Update) -> None:
        """Show the metrics at intervals."""
        terminal, now = self._terminal, monotonic()  # `started` has opened the terminal
        steps, step = run.training.steps, update.step
        left = self._seconds_per_update(update, now) * (steps - step)
        self._last_step = step
        self._window.add(update)
        if terminal and self._live:
            self._terminal_window.add(update)
            if now - self._last_drawn_time >= _REFRESH or step == steps:
                self._live.add_means(self._terminal_window.read(), left)
                terminal.draw(self._live.rows)
                self._last_drawn_time = now
        self._watch_speed(update, now)
        due = step % self.every == 0 if self.every else now - self._last_line_time >= self.seconds
        if due or step == steps:
            self._write_line(lines.progress(self._window.read(), steps, left), terminal=False)
            self._last_line_time = now

    @seqx.hookimpl
    def noticed(self, message: str) -> None:
        """Log a problem, which was printed on standard error already."""
        self._write_line(lines.plain(message), terminal=False, stderr=False)

    @seqx.hookimpl
    def evaluated(
        self, run: seqx.Run, step: int, split: str, evaluation: seqx.Evaluation, is_final: bool
    ) -> None:
        """Show the scores; after a validation, show also the best score so far and some outputs."""
        self._last_update_time = None
        if is_final:
            if self._last_step < run.training.steps and split == "dev":
                self._write_line(
                    f"stopped after {self._last_step} of {run.training.steps} updates: "
                    f"{_early_stopping_reason(run)}"
                )
            self._write_line(f"model of {run.name}  {split}: {lines.scores(evaluation)}")
            return
        score = next(iter(evaluation.scores.values()))
        if self._best is None or score.beats(self._best[0]):
            self._best = (score.value, step)
        best = f"best {self._best[0]:.2f} at step {self._best[1]}"
        self._write_line(f"step {step}/{run.training.steps}  {split}: {lines.scores(evaluation, best)}")
        for line in lines.examples(evaluation, self.examples, self._validations):
            self._write_line(line, terminal=False)
        if self._terminal and self._live:
            answers = lines.selected_answers(evaluation, self.examples, self._validations)
            self._live.add_evaluation(evaluation, best, answers)
            self._terminal.draw(self._live.rows)
        self._validations += 1

    @seqx.hookimpl
    def saved(self) -> None:
        """Exclude the time of the checkpoint from the speed."""
        self._last_update_time = None

    @seqx.hookimpl
    def finished(self, scores: Mapping[str, Mapping[str, seqx.Score]]) -> None:
        """Log the scores of the final model with their signatures; the command prints them."""
        for line in lines.closing(scores):
            self._write_line(line, terminal=False, stderr=False)
        self._close()

    @seqx.hookimpl
    def failed(self, run: seqx.Run, error: BaseException) -> None:
        """Log the error that ended the run; the command prints it."""
        if isinstance(error, KeyboardInterrupt):
            line = "interrupted; run the same command again to continue from the last checkpoint"
        else:
            line = lines.plain(f"failed: {type(error).__name__}: {error}")
        self._write_line(line, terminal=False, stderr=False)
        self._close()

    def _seconds_per_update(self, update: seqx.Update, now: float) -> float:
        """Return the mean time of an update, validations included.

        The time until the first update since the start does not count: a resumed run may validate, plan an
        epoch and compile in it.
        """
        if self._first is None:
            self._first = now, update.step
        first_time, first_step = self._first
        return (now - first_time) / (update.step - first_step) if update.step > first_step else update.seconds

    def _watch_speed(self, update: seqx.Update, now: float) -> None:
        """Add an update to the speed of the run, and print a line if the run has become slow."""
        if self._last_update_time is not None:
            self._seconds += now - self._last_update_time
            self._tokens += update.tokens
        self._last_update_time = now
        if self._seconds >= INTERVAL and self._speed:
            if line := self._speed.add(update.step, self._tokens, self._seconds):
                (self._warn or self._write_line)(line)
            self._seconds, self._tokens = 0.0, 0

    def _draw_preparation(self, terminal: "Terminal", text: str, fraction: float | None) -> None:
        from seqx_watch.live_rows import bar  # noqa: PLC0415  only a terminal needs rich

        terminal.draw(lambda width, ascii_only: [bar(text, fraction, width, ascii_only)])

    def _open_terminal(self) -> "Terminal | None":
        can_redraw = sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        if self._terminal is None and can_redraw:
            from seqx_watch.terminal import Terminal  # noqa: PLC0415  only a terminal needs rich

            self._terminal = Terminal()
        return self._terminal

    def _write_line(self, line: str, *, terminal: bool = True, stderr: bool = True) -> None:
        """Write a line to the log and to standard error.

        Args:
            line: the line
            terminal: print the line above the live view if standard error is a terminal
            stderr: print the line if standard error is not a terminal
        """
        view = self._open_terminal()
        if view is None and stderr and sys.stderr is not None:
            print(line, file=sys.stderr, flush=True)  # noqa: T201
        elif view and terminal:
            view.print_line(line)
        if self._log:
            self._log.write(line)
        else:
            self._lines_before_log.append(line)

    def _close(self) -> None:
        if self._terminal:
            self._terminal.close()
        self._log = None


def _early_stopping_reason(run: seqx.Run) -> str:
    """Return the reason why early stopping ended the run."""
    patience = run.training.early_stopping
    assert patience is not None, "only early stopping ends a run early"
    plural = "" if patience.validations == 1 else "s"
    return f"{patience.validations} validation{plural} without a better {patience.by or 'score'}"
