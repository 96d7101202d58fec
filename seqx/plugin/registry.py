"""Names for components, and what their constructors say about them."""

import dataclasses
import functools
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast, get_type_hints

from typing_extensions import TypeForm

from seqx.errors import RegistrationError

T = TypeVar("T")

MAKE = "make"  # marks an annotation whose component is configured but not built
Make = Annotated[Callable[..., T], MAKE]
REQUIRED = inspect.Parameter.empty


@dataclass(frozen=True, slots=True)
class Setting:
    """A keyword-only parameter of a constructor: what a recipe may set."""

    name: str
    annotation: Any
    default: Any = REQUIRED
    help: str = ""

    @property
    def required(self) -> bool:
        """Whether a recipe has to set it."""
        return self.default is REQUIRED


@dataclass(frozen=True)
class Component:
    """Something that a recipe can name, as one kind of thing."""

    name: str
    kind: type
    maker: Callable[..., Any]
    settings: Mapping[str, Setting]
    plugin: str | None = None

    @property
    def where(self) -> str:
        """File and line of its definition."""
        return where(self.maker)

    @property
    def summary(self) -> str:
        """The first line of its docstring."""
        return summary(self.maker)


class Registry:
    """What plugins offer: for each kind (an interface's class) its components by name."""

    def __init__(self) -> None:
        self.absent: list[str] = []  # plugins that failed to load, so that their components are missing
        self._kinds: dict[type, dict[str, Component]] = {}
        self._plugin: str | None = None

    def add(self, kind: TypeForm[T], **makers: Callable[..., T]) -> None:
        """Offer each of `makers` under its name, wherever a recipe wants a `kind`."""
        if not isinstance(kind, type):
            raise RegistrationError(f"a kind is a class, not {kind!r}")
        cls = cast("type", kind)
        for name, maker in makers.items():
            _check_given(cls, name, maker)
            settings = settings_of(maker)
            if "type" in settings:
                raise RegistrationError(
                    f"{where(maker)}: no setting can be called 'type', because that names the component"
                )
            taken = self._kinds.get(cls, {}).get(name)
            if taken is not None:
                owner = f"from plugin {taken.plugin!r}, " if taken.plugin else "from "
                raise RegistrationError(
                    f"{where(maker)}: {cls.__name__} {name!r} already exists, {owner}{taken.where}; "
                    "choose another name"
                )
            self._kinds.setdefault(cls, {})[name] = Component(name, cls, maker, settings, self._plugin)

    def kinds(self) -> list[type]:
        """Every kind that has a component, in the order in which they came."""
        return list(self._kinds)

    def components(self, kind: type) -> Mapping[str, Component]:
        """The components of a kind by name; none for a class that is no kind."""
        return self._kinds.get(kind, {})

    def brought_by(self, plugin: str) -> list[Component]:
        """The components that a plugin registered."""
        return [c for named in self._kinds.values() for c in named.values() if c.plugin == plugin]

    @contextmanager
    def on_behalf_of(self, plugin: str) -> Iterator[None]:
        """What is added inside is `plugin`'s; when it fails, nothing of it stays."""
        before, self._plugin = self._plugin, plugin
        kept = {kind: dict(named) for kind, named in self._kinds.items()}
        try:
            yield
        except BaseException:
            self._kinds = kept
            raise
        finally:
            self._plugin = before


def given(maker: Callable[..., Any]) -> tuple[str, ...]:
    """The positional parameters of a constructor: what the code that builds it passes."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return tuple(p.name for p in inspect.signature(maker).parameters.values() if p.kind in kinds)


def settings_of(maker: Callable[..., Any]) -> dict[str, Setting]:
    """The keyword-only parameters of a constructor: what a recipe may set."""
    hints = _hints(maker)
    helps = _helps(maker)
    factories = {
        f.name: f.default_factory
        for f in (dataclasses.fields(maker) if dataclasses.is_dataclass(maker) else ())
        if f.default_factory is not dataclasses.MISSING
    }
    settings = {}
    for parameter in inspect.signature(maker).parameters.values():
        name = parameter.name
        if parameter.kind is not parameter.KEYWORD_ONLY:
            continue
        if name not in hints:
            raise RegistrationError(f"{where(maker)}: setting {name!r} needs a type annotation")
        default = factories[name]() if name in factories else parameter.default
        settings[name] = Setting(name, hints[name], default, helps.get(name, ""))
    return settings


def section_settings(cls: Callable[..., Any]) -> dict[str, Setting]:
    """The settings of a section, which nothing is given to."""
    if given(cls):
        names = ", ".join(given(cls))
        raise RegistrationError(f"{where(cls)}: the settings of a section are keyword-only, unlike {names}")
    return settings_of(cls)


def where(maker: Callable[..., Any]) -> str:
    """File and line at which something was defined, the file relative to the working directory if inside."""
    target: Any = _function(maker) if isinstance(maker, functools.partial) else inspect.unwrap(maker)
    try:
        file = Path(inspect.getsourcefile(target) or "?")
        line = inspect.getsourcelines(target)[1]
    except (OSError, TypeError):
        return f"{getattr(target, '__module__', '?')}.{getattr(target, '__qualname__', target)}"
    if file.is_relative_to(Path.cwd()):
        file = file.relative_to(Path.cwd())
    return f"{file}:{line}"


def summary(thing: object) -> str:
    """The first line of a docstring that was written for `thing` itself."""
    doc = thing.__dict__.get("__doc__") if isinstance(thing, type) else getattr(thing, "__doc__", None)
    return inspect.cleandoc(doc).partition("\n")[0] if doc else ""


def _check_given(kind: type, name: str, maker: Callable[..., Any]) -> None:
    expected, found = given(kind), given(maker)
    if expected != found:
        shown = f"({', '.join(found)})"
        raise RegistrationError(
            f"{where(maker)}: every {kind.__name__} is given ({', '.join(expected)}) but "
            f"{name} takes {shown}; put what a recipe may set after a '*'"
        )
    if isinstance(maker, type) and not issubclass(maker, kind):
        raise RegistrationError(f"{where(maker)}: {name} is no {kind.__name__}; derive it from that class")
    if missing := sorted(getattr(maker, "__abstractmethods__", ())):
        raise RegistrationError(
            f"{where(maker)}: {name} lacks {', '.join(missing)}, which every {kind.__name__} must have; "
            "write it"
        )
    inherited = isinstance(maker, type) and maker.__init__ is kind.__init__  # type: ignore[misc]
    for parameter in inspect.signature(maker).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) and not inherited:
            raise RegistrationError(
                f"{where(maker)}: {name} takes {parameter}, which hides its settings; name each one"
            )


def _function(maker: Callable[..., Any]) -> Any:
    if isinstance(maker, functools.partial):
        return _function(maker.func)
    return maker.__init__ if isinstance(maker, type) else maker  # type: ignore[misc]


def _hints(maker: Callable[..., Any]) -> dict[str, Any]:
    function = _function(maker)
    if not hasattr(function, "__annotations__"):
        return {}  # object's own constructor: nothing to set
    try:
        return get_type_hints(function, include_extras=True)
    except NameError as error:
        raise RegistrationError(
            f"{where(maker)}: {error}; annotations are read at run time, so import it outside TYPE_CHECKING"
        ) from error


_ARGUMENT = re.compile(r"(\s+)\*{0,2}(\w+)(?: \([^)]*\))?: *(.*)")


def _helps(maker: Callable[..., Any]) -> dict[str, str]:
    """What the Args sections of a constructor's classes say about each setting, the nearest class first."""
    owners = maker.__mro__ if isinstance(maker, type) else (maker,)
    helps: dict[str, str] = {}
    for owner in reversed(owners):
        doc = owner.__dict__.get("__doc__") if isinstance(owner, type) else owner.__doc__
        helps |= _arguments(inspect.cleandoc(doc)) if doc else {}
    return helps


def _arguments(doc: str) -> dict[str, str]:
    found: dict[str, str] = {}
    name, indent = "", 0
    for line in doc.partition("\nArgs:\n")[2].splitlines():
        if line.strip() and not line.startswith(" "):
            break
        match = _ARGUMENT.fullmatch(line)
        if match and (not indent or len(match[1]) == indent):
            indent, name = len(match[1]), match[2]
            found[name] = match[3].strip()
        elif name and line.strip():
            found[name] += " " + line.strip()
    return found
