"""The hooks of plugins: `seqx_register`, `seqx_run_ended`, `seqx_html`, and the events of a run.

An implementation is marked `@seqx.hookimpl`. It takes only the arguments that it needs, by name.
"""

import difflib
import inspect
from collections.abc import Iterable
from pathlib import Path
from types import FunctionType, MethodType, ModuleType
from typing import Any

import pluggy

from seqx.errors import PluginError
from seqx.plugin.registry import Registry, where

hookspec = pluggy.HookspecMarker("seqx")
hookimpl = pluggy.HookimplMarker("seqx")
"""The decorator of functions that implement a hook, and of the methods of a callback that are events."""


@hookspec
def seqx_register(registry: Registry) -> None:
    """Register components, as in `registry.add(seqx.Attention, mine=Mine)`; called when plugins load.

    Args:
        registry: the registry to add them to
    """


@hookspec
def seqx_run_ended(folder: Path) -> None:
    """Use the folder of a run that has ended: finished, stopped or failed.

    It is called on rank 0 after all files of the run were written. An error of the function is printed, and
    does not change the result of the run.

    Args:
        folder: the run folder
    """


@hookspec(firstresult=True)
def seqx_html(value: object) -> str | None:
    """Return HTML that shows a value in a notebook, or None if the plugin has none for it.

    It is called by `seqx.notebook_html`. The HTML is part of a page with a light or dark background; it
    must not load other files, and texts must be escaped.

    Args:
        value: the value, such as a `seqx.Record`, `seqx.Predictor` or `seqx.AttentionMaps`
    """


class Events:
    """The events of a run. A callback implements any of them."""

    @hookspec
    def preparing(self, activity: str, fraction: float | None) -> None:
        """Text is downloaded, a vocabulary is learned or a corpus is encoded; called often, before `started`.

        Args:
            activity: the current work, in a few words
            fraction: the finished fraction, 0 to 1; None if it is unknown
        """

    @hookspec
    def started(self, run: Any) -> None:
        """Training begins, or continues after an interruption.

        Args:
            run: the run, a `seqx.Run`
        """

    @hookspec
    def updated(self, run: Any, update: Any) -> None:
        """An update of the parameters is complete.

        Args:
            run: the run
            update: the update, a `seqx.Update`; reading `loss`, `value` or a tensor waits for the device
        """

    @hookspec
    def noticed(self, run: Any, step: int, message: str) -> None:
        """A problem occurred, and the run continues.

        seqx has already printed the problem on standard error. After a rollback, `started` is called first.

        Args:
            run: the run
            step: number of updates so far
            message: the problem and its consequence, one line
        """

    @hookspec
    def evaluated(
        self, run: Any, step: int, split: str, evaluation: Any, predictor: Any, is_final: bool
    ) -> None:
        """The model was scored on a split.

        Args:
            run: the run
            step: number of updates so far
            split: "dev" or "test"
            evaluation: the scores and answers, a `seqx.Evaluation`
            predictor: the scored model, a `seqx.Predictor`, which can be used until the callback returns
            is_final: true for the final model of the run, false for a validation
        """

    @hookspec
    def saved(self, run: Any, step: int, path: Path) -> None:
        """A checkpoint was written, and the validation of this update, if any, is complete.

        If a run is stopped during a validation, it writes the checkpoint without this event. The resumed run
        repeats the validation, and then notifies of the event.

        Args:
            run: the run
            step: number of updates so far
            path: the folder of the checkpoint
        """

    @hookspec
    def finished(self, run: Any, scores: Any, predictor: Any) -> None:
        """The run is finished.

        Args:
            run: the run
            scores: for each split, the scores by name
            predictor: the final model, a `seqx.Predictor`, which can be used until the callback returns
        """

    @hookspec
    def failed(self, run: Any, error: BaseException) -> None:
        """The run failed; the error is raised again afterwards.

        Args:
            run: the run
            error: the error
        """


def manager_of(specifications: ModuleType | type) -> pluggy.PluginManager:
    """Return a plugin manager for the hooks of `specifications`: this module, or `Events`."""
    manager = _Manager("seqx")
    manager.add_hookspecs(specifications)
    return manager


_FUNCTIONS = (FunctionType, MethodType, classmethod, staticmethod)
"""The types of a module's attributes in which pluggy finds hooks."""


class _Manager(pluggy.PluginManager):
    """A plugin manager that looks for hooks among the functions of a module only, to be faster."""

    def parse_hookimpl_opts(self, plugin: object, name: str) -> pluggy.HookimplOpts | None:
        if isinstance(plugin, ModuleType) and not isinstance(vars(plugin).get(name), _FUNCTIONS):
            return None
        return super().parse_hookimpl_opts(plugin, name)


def implemented_hooks(manager: pluggy.PluginManager, thing: object) -> list[str]:
    """Return the names of the hooks that a plugin, a callback or a class of callbacks implements.

    Raises:
        PluginError: a marked method is not a hook, or takes an argument that the hook does not have
    """
    names = [name for name in dir(thing) if manager.parse_hookimpl_opts(thing, name) is not None]
    for name in names:
        function = inspect.unwrap(getattr(thing, name))
        specification = getattr(getattr(manager.hook, name, None), "spec", None)
        if specification is None:
            raise PluginError(f"{where(function)}: no hook is called {name!r}{_suggestion(manager, name)}")
        accepted = specification.argnames
        parameters = [*inspect.signature(function).parameters]
        own = parameters[isinstance(thing, type) :]  # without `self`, which methods of a class have
        unknown = [parameter for parameter in own if parameter not in accepted]
        if unknown:
            raise PluginError(
                f"{where(function)}: {name} takes {', '.join(unknown)}, but this hook has only the arguments "
                f"{', '.join(accepted)}"
            )
    return names


def _names(manager: pluggy.PluginManager) -> list[str]:
    return [hook for hook in vars(manager.hook) if not hook.startswith("_")]


def _suggestion(manager: pluggy.PluginManager, name: str) -> str:
    known = _names(manager)
    if near := difflib.get_close_matches(name, known, 1):
        return f"; did you mean {near[0]!r}?"
    if hasattr(Events, name):
        return f"; {name} is an event: implement it as a method of a seqx.Callback"
    return f"; there {'is' if len(known) == 1 else 'are'} {', '.join(known)}"


def check_events(callback: object) -> None:
    """Check the methods of a callback, or of a class of callbacks.

    Raises:
        PluginError: a marked method is not an event, a method with the name of an event is not marked, no
            method is marked, or only one of `state_dict` and `load_state_dict` exists
    """
    manager = manager_of(Events)
    implemented = implemented_hooks(manager, callback)
    cls = callback if isinstance(callback, type) else type(callback)
    for name in _names(manager):
        if hasattr(cls, name) and name not in implemented:
            raise PluginError(
                f"{where(getattr(cls, name))}: {name} is an event, but the method is not marked, so it would "
                "not be called; add @seqx.hookimpl"
            )
    missing = [name for name in ("state_dict", "load_state_dict") if not hasattr(cls, name)]
    if len(missing) == 1:
        raise PluginError(
            f"{where(cls)}: callback {cls.__qualname__} has no {missing[0]}; a state needs state_dict and "
            "load_state_dict"
        )
    if not implemented:
        raise PluginError(
            f"{where(cls)}: callback {cls.__qualname__} implements no event; mark a method with "
            "@seqx.hookimpl"
        )


def events(callbacks: Iterable[object]) -> pluggy.HookRelay:
    """Return the events of a run; a call reaches the callbacks in the order of the recipe."""
    manager = manager_of(Events)
    for callback in reversed(list(callbacks)):  # pluggy calls the last registered first
        check_events(callback)
        manager.register(callback, name=f"{type(callback).__qualname__} {id(callback)}")
    return manager.hook
