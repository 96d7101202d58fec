"""Where plugins can join in: one hook to register components, and the events of a run.

An implementation is marked `@seqx.hookimpl` and takes any subset of the arguments, by name.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pluggy

from seqx.errors import PluginError
from seqx.registry import Registry

hookspec = pluggy.HookspecMarker("seqx")
hookimpl = pluggy.HookimplMarker("seqx")


@hookspec
def seqx_register(registry: Registry) -> None:
    """Offer components: `registry.add(seqx.Attention, multihead=MultiHead)`. Called once, when plugins load.

    Args:
        registry: where components are added
    """


class Events:
    """What happens in a run; a callback implements any of these."""

    @hookspec
    def preparing(self, what: str, share: float | None) -> None:
        """Text is fetched, a vocabulary learnt, a corpus encoded; called often, before `started`.

        Args:
            what: what is being done, a few words
            share: how much of it is done, 0 to 1; None where nobody knows
        """

    @hookspec
    def started(self, run: Any) -> None:
        """Training begins, or goes on after an interruption.

        Args:
            run: the run, a `seqx.Run`
        """

    @hookspec
    def updated(self, run: Any, update: Any) -> None:
        """The parameters were updated once.

        Args:
            run: the run
            update: its step, loss, tokens, norm, learning rate, time; reading a number waits for the device
        """

    @hookspec
    def evaluated(self, run: Any, step: int, split: str, evaluation: Any) -> None:
        """The model was scored.

        Args:
            run: the run
            step: updates made so far
            split: the part of the corpus, "dev" or "test"
            evaluation: a `seqx.Evaluation`: scores and answers
        """

    @hookspec
    def saved(self, run: Any, step: int, path: Path) -> None:
        """A checkpoint was written.

        Args:
            run: the run
            step: updates made so far
            path: the checkpoint's folder
        """

    @hookspec
    def finished(self, run: Any, scores: Any) -> None:
        """The run came to its end.

        Args:
            run: the run
            scores: for each split, the name of each metric and its Score
        """

    @hookspec
    def failed(self, run: Any, error: BaseException) -> None:
        """The run broke off; the error is raised again afterwards.

        Args:
            run: the run
            error: what broke it off
        """


def events(callbacks: Iterable[object]) -> pluggy.HookRelay:
    """The events of one run, told to `callbacks` in the order in which they are listed."""
    manager = pluggy.PluginManager("seqx")
    manager.add_hookspecs(Events)
    for callback in reversed(list(callbacks)):  # pluggy calls the last registered first
        name = f"{type(callback).__qualname__} {id(callback)}"
        try:
            manager.register(callback, name=name)
            manager.check_pending()
        except pluggy.PluginValidationError as error:
            raise PluginError(f"callback {type(callback).__qualname__}: {error}") from error
        if not manager.get_hookcallers(callback):
            raise PluginError(f"callback {type(callback).__qualname__} has no event marked @seqx.hookimpl")
    return manager.hook
