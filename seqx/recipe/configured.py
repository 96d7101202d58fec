"""What a checked recipe is made of: components that are configured and not yet built."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, cast

from seqx.errors import Location, Problem, RecipeError
from seqx.plugin.registry import Component

T_co = TypeVar("T_co", covariant=True)
NOT_EXPRESSIBLE: Any = object()  # a default that YAML cannot write; leaving it out means the same


class Value(Protocol):
    """One value of a checked recipe; `at` is None for a default."""

    @property
    def at(self) -> Location | None:
        """Where it was written."""

    def plain(self) -> Any:
        """As YAML would say it, everything filled in."""

    def value(self) -> Any:
        """What the constructor receives."""

    def used(self) -> Iterator[Component]:
        """The components inside."""


@dataclass(frozen=True)
class Leaf:
    """A number, a word, or whatever else pydantic understands."""

    content: Any
    written: Any
    at: Location | None

    def plain(self) -> Any:
        """As YAML would say it."""
        return self.written

    def value(self) -> Any:
        """The validated value."""
        return self.content

    def used(self) -> Iterator[Component]:
        """No component."""
        return iter(())


@dataclass(frozen=True)
class Collection:
    """A list, tuple or mapping of values."""

    items: Sequence[Value] | Mapping[str, Value]
    container: Callable[[Any], Any]
    at: Location | None

    def plain(self) -> Any:
        """As YAML would say it."""
        if isinstance(self.items, Mapping):
            said: Any = {key: item.plain() for key, item in self.items.items()}
            parts = said.values()
        else:
            said = parts = [item.plain() for item in self.items]
        return NOT_EXPRESSIBLE if any(part is NOT_EXPRESSIBLE for part in parts) else said

    def value(self) -> Any:
        """The items' values in the container that the annotation names."""
        if isinstance(self.items, Mapping):
            return self.container({key: item.value() for key, item in self.items.items()})
        return self.container(item.value() for item in self.items)

    def used(self) -> Iterator[Component]:
        """The components inside."""
        for item in self.items.values() if isinstance(self.items, Mapping) else self.items:
            yield from item.used()


@dataclass(frozen=True)
class Configured(Generic[T_co]):
    """A component, a section or a whole recipe with its settings, not built yet. Calling it builds it.

    Args:
        maker: the constructor
        component: its entry in the registry; None for a section or a whole recipe
        settings: the checked settings by name
        at: the place where it was written; None for a default
        place: the place where it was written, or that of the nearest parent that was written
        path: the path of the setting, such as `model.encoder`
        deferred: true for a `Make[...]`, which the parent builds itself
        named: the place of its `type`
    """

    maker: Callable[..., T_co]
    component: Component | None
    settings: Mapping[str, Value]
    at: Location | None
    place: Location
    path: str
    deferred: bool = False
    named: Location | None = None

    def __call__(self, *given: Any, **more: Any) -> T_co:
        """Build it; settings at odds (a ValueError of the constructor) become a problem at its place."""
        said = {name: item.value() for name, item in self.settings.items() if _written(item)}
        try:
            built = self.maker(*given, **said, **more)
        except ValueError as error:
            raise RecipeError([self.problem("", str(error))]) from error
        if (noted := _noted.get()) is not None:
            noted.append((self, built))
        return built

    def problem(self, setting: str, message: str) -> Problem:
        """Return a problem of a setting, such as `train.0`, at the place of the setting or its parent."""
        at, value = self.place, cast("Value | None", self)
        for step in setting.split(".") if setting else ():
            value = _inside(value, step)
            at = (value and value.at) or at
        path = ".".join(part for part in (self.path, setting) if part)
        return Problem(at, f"{path or 'recipe'}: {message}")

    def plain(self) -> Any:
        """The settings, everything filled in, as YAML would say it; which reads back as the same."""
        said = {name: item.plain() for name, item in self.settings.items()}
        said = {name: item for name, item in said.items() if item is not NOT_EXPRESSIBLE}
        if self.component is None:
            return said
        return {"type": self.component.name, **said} if said else self.component.name

    def value(self) -> Any:
        """Itself where a Make is wanted, else what it builds."""
        return self if self.deferred else self()

    def used(self) -> Iterator[Component]:
        """The components inside, its own first."""
        if self.component is not None:
            yield self.component
        for item in self.settings.values():
            yield from item.used()


_noted: ContextVar[list[tuple[Configured[Any], object]] | None] = ContextVar("noted", default=None)


@contextmanager
def building() -> Iterator[list[tuple[Configured[Any], object]]]:
    """Record each object that is built in the block with the settings that it is built from."""
    noted: list[tuple[Configured[Any], object]] = []
    token = _noted.set(noted)
    try:
        yield noted
    finally:
        _noted.reset(token)


def _inside(value: Value | None, step: str) -> Value | None:
    """Return the value of a setting, a key or an index of a list, or None."""
    if isinstance(value, Configured):
        return value.settings.get(step)
    if not isinstance(value, Collection):
        return None
    if isinstance(value.items, Mapping):
        return value.items.get(step)
    return value.items[int(step)] if step.isdecimal() and int(step) < len(value.items) else None


def _written(item: Value) -> bool:
    """Whether a recipe says it; a default is left to the constructor."""
    return item.at is not None
