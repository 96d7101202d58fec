"""Says how a run goes: a live view on a terminal, plain lines elsewhere and in the run's log."""

import math
import re
import sys
from collections.abc import Mapping
from time import monotonic
from typing import Annotated

from annotated_types import Ge, Gt

import seqx
from seqx_watch import lines
from seqx_watch.append_only_file import AppendOnlyFile
from seqx_watch.terminal import Terminal
from seqx_watch.window import Window

_REFRESH = 1.0  # seconds between two looks at the device for a terminal


class ConsoleProgress(seqx.Callback):
    """Tells standard error how a run goes, and writes the same to the run's `log.txt`.

    On a terminal a bar and the latest numbers are redrawn in place, and scores, examples and what else is
    worth keeping scroll by above. Where standard error is no terminal, the numbers are lines, too. Standard
    output is left to what a command prints as its result. A resumed run goes on writing the same log.

    Args:
        every: updates between two lines of numbers; null: as many as `seconds` take
        seconds: seconds between two lines of numbers, and of news from preparation
        examples: answers shown after each validation, with their inputs and references
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
        self._log: AppendOnlyFile | None = None
        self._early: list[str] = []  # lines from before there was a log
        self._topic = self._last_news = ""
        self._said = -math.inf
        self._shown = -math.inf
        self._began = 0.0
        self._drawn, self._window = Window(), Window()
        self._best: tuple[float, int] | None = None
        self._validations = 0
        self._complete = False  # whether what is scored next is the finished model
        self._last = 0  # update

    @seqx.hookimpl
    def preparing(self, what: str, share: float | None) -> None:
        """Say what is done, when it is something else or some time has passed."""
        terminal, what, now = self._view(), lines.plain(what), monotonic()
        topic = re.sub(r"\d[\d,]*", "", what)
        fresh = topic != self._topic
        if terminal and (fresh or now - self._shown >= _REFRESH or share == 1):
            terminal.show(what, share)
            self._shown = now
        line = what if share is None else f"{what} ({share:.0%})"
        if fresh or now - self._said >= self.seconds or (share == 1 and line != self._last_news):
            self._say(line, terminal=False)
            self._topic, self._said, self._last_news = topic, now, line

    @seqx.hookimpl
    def started(self, run: seqx.Run) -> None:
        """Open the log, and say what is trained on what."""
        self._log = AppendOnlyFile(run.folder / "log.txt")
        for line in self._early:
            self._log.write(line)
        self._early.clear()
        for line in lines.opening(run):
            self._say(line)
        if run.best is not None:
            self._best = (run.best, run.best_step)
        self._began = self._said = monotonic()
        self._shown = -math.inf
        self._complete, self._last = not run.pending, run.done

    @seqx.hookimpl
    def updated(self, run: seqx.Run, update: seqx.Update) -> None:
        """Show the numbers, when it is time."""
        terminal, now = self._view(), monotonic()
        steps, step = run.training.steps, update.step
        left = (now - self._began) / (step - run.done) * (steps - step)
        self._complete, self._last = False, step
        self._window.add(update)
        if terminal:
            self._drawn.add(update)
            if now - self._shown >= _REFRESH or step == steps:
                what = f"step {step}/{steps}, {lines.duration(left)} left"
                terminal.show(what, step / steps, lines.numbers(self._drawn.read()))
                self._shown = now
        due = step % self.every == 0 if self.every else now - self._said >= self.seconds
        if due or step == steps:
            self._say(lines.progress(self._window.read(), steps, left), terminal=False)
            self._said = now

    @seqx.hookimpl
    def noticed(self, what: str) -> None:
        """Keep what went wrong; the run itself says it on standard error."""
        self._say(lines.plain(what), terminal=False, loud=False)

    @seqx.hookimpl
    def evaluated(self, run: seqx.Run, step: int, split: str, evaluation: seqx.Evaluation) -> None:
        """Say the scores, and how the best so far compares; after a validation, some answers."""
        if self._complete:
            if self._last < run.training.steps and split == "dev":
                self._say(f"stopped after {self._last} of {run.training.steps} updates: {_waited(run)}")
            self._say(f"model of {run.name}  {split}: {lines.scores(evaluation)}")
            return
        score = next(iter(evaluation.scores.values()))
        if self._best is None or score.beats(self._best[0]):
            self._best = (score.value, step)
        best = f"best {self._best[0]:.2f} at step {self._best[1]}"
        self._say(f"step {step}/{run.training.steps}  {split}: {lines.scores(evaluation, best)}")
        for line in lines.examples(evaluation, self.examples, self._validations):
            self._say(line)
        self._validations += 1

    @seqx.hookimpl
    def saved(self, step: int) -> None:
        """Remember that no update was made since."""
        self._complete = True

    @seqx.hookimpl
    def finished(self, scores: Mapping[str, Mapping[str, seqx.Score]]) -> None:
        """Keep the scores of the finished model with their signatures; the command itself prints them."""
        for line in lines.closing(scores):
            self._say(line, terminal=False, loud=False)
        self._close()

    @seqx.hookimpl
    def failed(self, run: seqx.Run, error: BaseException) -> None:
        """Say that the run broke off; the command says why, the log keeps it."""
        if isinstance(error, KeyboardInterrupt):
            line = "interrupted; run the same command again to continue from the last checkpoint"
        else:
            line = lines.plain(f"broken off: {type(error).__name__}: {error}")
        self._say(line, terminal=False, loud=False)
        self._close()

    def _view(self) -> Terminal | None:
        if self._terminal is None and sys.stderr is not None and sys.stderr.isatty():
            self._terminal = Terminal()
        return self._terminal

    def _say(self, line: str, *, terminal: bool = True, loud: bool = True) -> None:
        """A line for the log and, when `loud`, standard error; `terminal`: even above a bar that says it."""
        view = self._view()
        if view is None and loud and sys.stderr is not None:
            print(line, file=sys.stderr, flush=True)  # noqa: T201
        elif view and terminal:
            view.say(line)
        if self._log:
            self._log.write(line)
        else:
            self._early.append(line)

    def _close(self) -> None:
        if self._terminal:
            self._terminal.close()
        self._log = None


def _waited(run: seqx.Run) -> str:
    """Return the reason why patience ended a run."""
    patience = run.training.patient
    assert patience is not None, "nothing else ends a run early"
    return f"{patience.validations} validations without a better {patience.by or 'score'}"
