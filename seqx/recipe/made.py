"""What a checked recipe is made of: components that are configured and not yet built."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from seqx.errors import At, Problem, RecipeError, SettingError
from seqx.registry import Component

T_co = TypeVar("T_co", covariant=True)
UNSAID: Any = object()  # a default that YAML cannot write; leaving it out means the same


class Value(Protocol):
    """One value of a checked recipe; `at` is None for a default."""

    @property
    def at(self) -> At | None:
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
    at: At | None

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
class Several:
    """A list, tuple or mapping of values."""

    items: Sequence[Value] | Mapping[str, Value]
    container: Callable[[Any], Any]
    at: At | None

    def plain(self) -> Any:
        """As YAML would say it."""
        if isinstance(self.items, Mapping):
            said: Any = {key: item.plain() for key, item in self.items.items()}
            parts = said.values()
        else:
            said = parts = [item.plain() for item in self.items]
        return UNSAID if any(part is UNSAID for part in parts) else said

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
class Made(Generic[T_co]):
    """A component, a section or a whole recipe: configured, not built. Calling it builds it.

    `later` ones are handed on unbuilt. `place` is where it was written, or the nearest thing around that was;
    `named` is where its type was.
    """

    maker: Callable[..., T_co]
    component: Component | None
    settings: Mapping[str, Value]
    at: At | None
    place: At
    path: str
    later: bool = False
    named: At | None = None

    def __call__(self, *given: Any, **more: Any) -> T_co:
        """Build it; settings at odds (a ValueError of the constructor) become a problem at its place."""
        said = {name: item.value() for name, item in self.settings.items() if _written(item)}
        try:
            return self.maker(*given, **said, **more)
        except SettingError as error:
            path = ".".join(filter(None, [self.path, *error.path]))
            raise RecipeError([Problem(self._written_at(error.path), f"{path}: {error}")]) from error
        except ValueError as error:
            raise RecipeError([Problem(self.place, f"{self.path or 'recipe'}: {error}")]) from error

    def _written_at(self, path: Sequence[str]) -> At:
        """Return the place of a setting inside, or of the innermost one around it that was written."""
        place, inside = self.place, self.settings
        for name in path:
            item = inside.get(name)
            place = (item and item.at) or place
            inside = item.settings if isinstance(item, Made) else {}
        return place

    def plain(self) -> Any:
        """The settings, everything filled in, as YAML would say it; which reads back as the same."""
        said = {name: item.plain() for name, item in self.settings.items()}
        said = {name: item for name, item in said.items() if item is not UNSAID}
        if self.component is None:
            return said
        return {"type": self.component.name, **said} if said else self.component.name

    def value(self) -> Any:
        """Itself where a Make is wanted, else what it builds."""
        return self if self.later else self()

    def used(self) -> Iterator[Component]:
        """The components inside, its own first."""
        if self.component is not None:
            yield self.component
        for item in self.settings.values():
            yield from item.used()


def _written(item: Value) -> bool:
    """Whether a recipe says it; a default is left to the constructor."""
    return item.at is not None
