"""A callback whose errors do not end a run."""

import traceback
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click
import pluggy

from seqx.errors import RecipeError
from seqx.interfaces.learning import Callback
from seqx.interfaces.scores import Evaluation, Score
from seqx.plugin.hooks import events, hookimpl
from seqx.plugin.registry import Make


class OptionalCallback(Callback):
    """A callback that may fail: the error is reported once, and the run continues without the callback.

    The error may occur in its constructor, for instance if a package is missing, in an event, or when its
    state is saved or loaded. After the error, checkpoints have no state of the callback. A run that is
    resumed uses the callback again.

    Args:
        callback: the callback, such as a tracker on another machine
    """

    def __init__(self, *, callback: Make[Callback]) -> None:
        self._callback: Callback | None = None
        self._events: pluggy.HookRelay | None = None
        self._error: Exception | None = None  # of the constructor, reported at the first event
        self._name = getattr(callback, "path", "callbacks")
        self._warn: Callable[[str], None] = partial(click.echo, err=True)  # until the run provides another
        try:
            self._callback = callback()
            self._events = events([self._callback])
        except RecipeError:
            raise
        except Exception as error:  # noqa: BLE001  any error of the callback
            self._error = error

    def warn_with(self, warn: Callable[[str], None]) -> None:
        """Receive the function that reports the error."""
        self._warn = warn
        if self._callback is not None:
            self._callback.warn_with(warn)

    @property
    def state_name(self) -> str:
        """The name of the state, which is that of the wrapped callback."""
        return "" if self._callback is None else self._callback.state_name

    def state_dict(self) -> dict[str, Any] | None:
        """Return the state of the callback; None if it has none, or does not work."""
        state: dict[str, Any] | None = self._try(getattr(self._callback, "state_dict", _no_state))
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state of the callback."""
        self._try(partial(getattr(self._callback, "load_state_dict", _no_state), state))

    def _try(self, call: Callable[[], Any]) -> Any:
        """Return the result of a call, or None if the callback does not work; report its first error."""
        if self._error is not None:
            self._report(self._error)
        try:
            return None if self._events is None else call()
        except Exception as error:  # noqa: BLE001  any error of the callback
            self._report(error)
            return None

    def _report(self, error: Exception) -> None:
        """Report an error; the callback is not called again."""
        self._error = self._events = None
        self._warn(f"{self._name}: {_described(error)}; the run continues without this callback")

    def _notify(self, event: str, **arguments: Any) -> None:
        self._try(lambda: getattr(self._events, event)(**arguments))

    @hookimpl
    def preparing(self, activity: str, fraction: float | None) -> None:
        """Notify the callback."""
        self._notify("preparing", activity=activity, fraction=fraction)

    @hookimpl
    def started(self, run: Any) -> None:
        """Notify the callback."""
        self._notify("started", run=run)

    @hookimpl
    def updated(self, run: Any, update: Any) -> None:
        """Notify the callback."""
        self._notify("updated", run=run, update=update)

    @hookimpl
    def noticed(self, run: Any, step: int, message: str) -> None:
        """Notify the callback."""
        self._notify("noticed", run=run, step=step, message=message)

    @hookimpl
    def evaluated(
        self, run: Any, step: int, split: str, evaluation: Evaluation, predictor: Any, is_final: bool
    ) -> None:
        """Notify the callback."""
        self._notify(
            "evaluated",
            run=run,
            step=step,
            split=split,
            evaluation=evaluation,
            predictor=predictor,
            is_final=is_final,
        )

    @hookimpl
    def saved(self, run: Any, step: int, path: Path) -> None:
        """Notify the callback."""
        self._notify("saved", run=run, step=step, path=path)

    @hookimpl
    def finished(self, run: Any, scores: Mapping[str, Mapping[str, Score]], predictor: Any) -> None:
        """Notify the callback."""
        self._notify("finished", run=run, scores=scores, predictor=predictor)

    @hookimpl
    def failed(self, run: Any, error: BaseException) -> None:
        """Notify the callback."""
        self._notify("failed", run=run, error=error)


def _no_state(_: object = None) -> None:
    """Stand for the methods of a callback without a state."""


def _described(error: Exception) -> str:
    """Return an error with its class and the line that raised it, on one line."""
    frames = traceback.extract_tb(error.__traceback__)
    at = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())}{at}"
