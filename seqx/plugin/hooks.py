"""Where plugins can join in: one hook to register components, and the events of a run.

An implementation is marked `@seqx.hookimpl` and takes any subset of the arguments, by name.
"""

import difflib
import inspect
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy

from seqx.errors import PluginError
from seqx.plugin.registry import Registry, where

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
    def noticed(self, run: Any, step: int, what: str) -> None:
        """Something went wrong, and the run goes on; `started` came before, if it went back to a checkpoint.

        Standard error has it already; what is told here is for what is kept.

        Args:
            run: the run
            step: updates made so far
            what: what went wrong and what is done about it, one line
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
        """A checkpoint was written, with all that was due before it.

        A run that is asked to stop while it is validated saves without a word, and tells of that update's
        checkpoint when it has gone on and has validated.

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


def manager_of(specifications: ModuleType | type) -> pluggy.PluginManager:
    """One that knows `specifications`: this module, or `Events`."""
    manager = pluggy.PluginManager("seqx")
    manager.add_hookspecs(specifications)
    return manager


def marked(manager: pluggy.PluginManager, thing: object) -> list[str]:
    """The hooks that a plugin or a callback implements.

    Raises:
        PluginError: one that is marked does not exist, or takes what it is not given
    """
    names = [name for name in dir(thing) if manager.parse_hookimpl_opts(thing, name) is not None]
    for name in names:
        function = inspect.unwrap(getattr(thing, name))
        specification = getattr(getattr(manager.hook, name, None), "spec", None)
        if specification is None:
            raise PluginError(
                f"{where(function)}: there is no hook {name!r} to implement{_near(manager, name)}"
            )
        given = specification.argnames
        unknown = [taken for taken in inspect.signature(function).parameters if taken not in given]
        if unknown:
            raise PluginError(
                f"{where(function)}: {name} takes {', '.join(unknown)}, but what it may take is "
                f"{', '.join(given)}"
            )
    return names


def _near(manager: pluggy.PluginManager, name: str) -> str:
    known = [hook for hook in vars(manager.hook) if not hook.startswith("_")]
    if near := difflib.get_close_matches(name, known, 1):
        return f"; did you mean {near[0]!r}?"
    if hasattr(Events, name):
        return f"; {name} is an event, which a seqx.Callback hears by a method of this name"
    return f"; there {'is' if len(known) == 1 else 'are'} {', '.join(known)}"


def events(callbacks: Iterable[object]) -> pluggy.HookRelay:
    """The events of one run, told to `callbacks` in the order in which they are listed."""
    manager = manager_of(Events)
    for callback in reversed(list(callbacks)):  # pluggy calls the last registered first
        name = type(callback).__qualname__
        if not marked(manager, callback):
            raise PluginError(f"{where(type(callback))}: callback {name} has no event marked @seqx.hookimpl")
        manager.register(callback, name=f"{name} {id(callback)}")
    return manager.hook
