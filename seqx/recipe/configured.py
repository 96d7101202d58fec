"""The values of a checked recipe: components that are configured but not built yet."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Protocol, TypeVar, cast

from seqx.errors import Location, Problem, RecipeError
from seqx.plugin.base_constructor import check_base_constructor
from seqx.plugin.registry import Component
from seqx.plugin.whole_defaults import float_defaults

T_co = TypeVar("T_co", covariant=True)
NOT_EXPRESSIBLE: Any = object()  # stands for a default that YAML cannot express and that is left out


class Value(Protocol):
    """A value of a checked recipe."""

    @property
    def at(self) -> Location | None:
        """The location where it was written; None for a default."""

    def plain(self) -> Any:
        """Return the plain value, with all defaults, as it is written in YAML."""

    def children(self) -> "Mapping[str, Value]":
        """Return the values inside by name; items of a list by their numbers, as in paths."""

    def value(self) -> Any:
        """Return the value that the constructor gets; components are built."""

    def used(self) -> Iterator[Component]:
        """Yield the components inside."""


@dataclass(frozen=True)
class PlainValue:
    """A number, a string, or any other value that pydantic validates."""

    content: Any
    written: Any
    at: Location | None

    def plain(self) -> Any:
        """Return the value as it is written in YAML."""
        return self.written

    def children(self) -> Mapping[str, Value]:
        """Return nothing."""
        return {}

    def value(self) -> Any:
        """Return the validated value."""
        return self.content

    def used(self) -> Iterator[Component]:
        """Yield nothing."""
        return iter(())


@dataclass(frozen=True)
class Collection:
    """A list, a tuple or a mapping of values."""

    items: Sequence[Value] | Mapping[str, Value]
    container: Callable[[Any], Any]
    at: Location | None

    def plain(self) -> Any:
        """Return the items as they are written in YAML, or NOT_EXPRESSIBLE if one cannot be written."""
        if isinstance(self.items, Mapping):
            plain: Any = {key: item.plain() for key, item in self.items.items()}
            parts = plain.values()
        else:
            plain = parts = [item.plain() for item in self.items]
        return NOT_EXPRESSIBLE if any(part is NOT_EXPRESSIBLE for part in parts) else plain

    def children(self) -> Mapping[str, Value]:
        """Return the items."""
        if isinstance(self.items, Mapping):
            return self.items
        return {str(number): item for number, item in enumerate(self.items)}

    def value(self) -> Any:
        """Return the items in the container of the annotation."""
        if isinstance(self.items, Mapping):
            return self.container({key: item.value() for key, item in self.items.items()})
        return self.container(item.value() for item in self.items)

    def used(self) -> Iterator[Component]:
        """Yield the components inside."""
        for item in self.items.values() if isinstance(self.items, Mapping) else self.items:
            yield from item.used()


@dataclass(frozen=True)
class Configured(Generic[T_co]):
    """A component, a section or a whole recipe with its settings, not built yet. Calling it builds it.

    Args:
        maker: the constructor
        component: its entry in the registry; None for a section or a whole recipe
        settings: the checked settings by name
        at: the location where it was written; None for a default
        at_or_parent: the location `at`; for a default, that of the nearest parent that was written
        path: the path of the setting, such as `model.encoder`
        deferred: true for a `Make[...]`, which the parent builds itself
        type_at: the location of its `type`; None for a default or a section
    """

    maker: Callable[..., T_co]
    component: Component | None
    settings: Mapping[str, Value]
    at: Location | None
    at_or_parent: Location
    path: str
    deferred: bool = False
    type_at: Location | None = None

    def __call__(self, *positional: Any, **keywords: Any) -> T_co:
        """Build the component, the section or the experiment.

        Args:
            positional: positional parameters that the parent provides
            keywords: keyword parameters that the parent provides

        Raises:
            RecipeError: the constructor raised ValueError, for example because settings are inconsistent;
                within `all_built_objects`, the end of the block raises it
            PluginError: the constructor does not call the constructor of its interface
        """
        recorder = _recorder.get()
        if recorder is None:
            return self._build(positional, keywords, self._values())
        failures = len(recorder.errors)
        values = self._values()
        if len(recorder.errors) == failures:
            try:
                built = self._build(positional, keywords, values)
            except Exception as error:
                if isinstance(error, RecipeError):
                    recorder.errors.append(error)
                elif len(recorder.errors) == failures:
                    raise  # otherwise a missing component inside may be the reason
        if len(recorder.errors) > failures:
            return cast("T_co", _NOT_BUILT)
        recorder.objects.append((self, built))
        return built

    def _values(self) -> dict[str, Any]:
        """Return the values of the settings that the recipe sets; defaults are left to the constructor."""
        return {name: item.value() for name, item in self.settings.items() if item.at is not None}

    def _build(
        self, positional: Sequence[Any], keywords: Mapping[str, Any], values: Mapping[str, Any]
    ) -> T_co:
        """Call the constructor."""
        try:
            built = self.maker(*positional, **{**float_defaults(self.maker), **values, **keywords})
        except ValueError as error:
            raise RecipeError([self._located(str(error))]) from error
        if self.component is not None:
            check_base_constructor(self.component, built)
        return built

    def sets(self, setting: str) -> bool:
        """Return true if the recipe sets a setting, such as `training.seed`."""
        value = self._inside(setting)
        return value is not None and value.at is not None

    def problem(self, setting: str, message: str) -> Problem:
        """Return a problem of a setting, such as `train.0`, at its location or that of its nearest parent."""
        at, value = self.at_or_parent, cast("Value | None", self)
        for step in setting.split(".") if setting else ():
            value = _inside(value, step)
            at = (value and value.at) or at
        path = ".".join(part for part in (self.path, setting) if part)
        return Problem(at, f"{path or 'recipe'}: {message}")

    def _located(self, message: str) -> Problem:
        """Return a problem at the setting that a message of the constructor begins with, else at this object.

        The setting is part of the path if a colon follows, as in `average: 5 checkpoints are averaged`.
        """
        setting, colon, rest = re.fullmatch(r"(\w*)(: )?(.*)", message, re.DOTALL).groups()  # type: ignore[union-attr]
        if setting not in self.settings:
            return self.problem("", message)
        if colon:
            return self.problem(setting, rest)
        return replace(self.problem("", message), at=self.problem(setting, "").at)

    def name_of(self, setting: str) -> str:
        """Return the name that the recipe gives the component of a setting, such as `training.optimizer`."""
        value = self._inside(setting)
        assert isinstance(value, Configured)
        assert value.component is not None, f"{setting} is not a component"
        return value.component.name

    def _inside(self, setting: str) -> Value | None:
        """Return the value of a setting, or None."""
        value = cast("Value | None", self)
        for step in setting.split("."):
            value = _inside(value, step)
        return value

    def plain(self) -> Any:
        """Return all settings with their defaults, as plain values that YAML can express."""
        plain = {name: item.plain() for name, item in self.settings.items()}
        plain = {name: item for name, item in plain.items() if item is not NOT_EXPRESSIBLE}
        if self.component is None:
            return plain
        return {"type": self.component.name, **plain} if plain else self.component.name

    def children(self) -> Mapping[str, Value]:
        """Return the settings."""
        return self.settings

    def value(self) -> Any:
        """Return this object if it is `deferred`; otherwise build it."""
        return self if self.deferred else self()

    def used(self) -> Iterator[Component]:
        """Yield this component and those inside."""
        if self.component is not None:
            yield self.component
        for item in self.settings.values():
            yield from item.used()


@dataclass(frozen=True)
class _Recorder:
    """The objects that are built, with their configurations, and the errors of those that are not."""

    objects: list[tuple[Configured[Any], object]] = field(default_factory=list)
    errors: list[RecipeError] = field(default_factory=list)


_recorder: ContextVar[_Recorder | None] = ContextVar("recorder", default=None)
_NOT_BUILT = object()  # stands for a component whose constructor raised an error


@contextmanager
def all_built_objects() -> Iterator[Sequence[tuple[Configured[Any], object]]]:
    """Yield a list that gets each object that is built in the block, with its configuration.

    A ValueError of a constructor does not end the block, so that errors of other components are found, too.
    The constructor of its parent is not called. If the parent builds its component itself, errors of the
    parent other than ValueError are ignored from then on.

    Raises:
        RecipeError: components could not be built; it has the problems of all of them, each once. It replaces
            an error of another type that ends the block afterwards.
    """
    recorder = _Recorder()
    token = _recorder.set(recorder)
    cause: Exception | None = None
    try:
        yield recorder.objects
    except Exception as error:
        if not recorder.errors:
            raise
        cause = error
    finally:
        _recorder.reset(token)
    if recorder.errors:
        problems = [problem for error in recorder.errors for problem in error.problems]
        if isinstance(cause, RecipeError):
            problems += cause.problems
        raise RecipeError([*dict.fromkeys(problems)]) from cause or recorder.errors[0]


def _inside(value: Value | None, step: str) -> Value | None:
    """Return the value of a setting, a key or an index of a list, or None."""
    return None if value is None else value.children().get(step)
