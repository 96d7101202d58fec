"""The registry of components, and the settings that constructors of components declare."""

import dataclasses
import functools
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast, get_type_hints

from typing_extensions import TypeForm

from seqx.errors import RegistrationError
from seqx.plugin.whole_defaults import float_defaults, without_partials

T = TypeVar("T")

MAKE = "make"  # marks the annotation of a component that the parent builds itself
Make = Annotated[Callable[..., T], MAKE]
"""The annotation of a setting that names a component of T, which the constructor builds itself.

The constructor gets a function that takes the positional parameters of T and returns a new component.
"""
REQUIRED = inspect.Parameter.empty
_NAME = re.compile(r"[a-z][a-z0-9_]*")  # of a component


@dataclass(frozen=True, slots=True)
class Setting:
    """A keyword-only parameter of a constructor, which a recipe may set."""

    name: str
    annotation: Any
    default: Any = REQUIRED
    help: str = ""

    @property
    def required(self) -> bool:
        """True if the parameter has no default. Then a recipe must set it."""
        return self.default is REQUIRED


@dataclass(frozen=True)
class Component:
    """An implementation of an interface under the name that recipes use."""

    name: str
    interface: type
    maker: Callable[..., Any]
    settings: Mapping[str, Setting]
    plugin: str | None = None

    def build(self, *positional: Any, **settings: Any) -> Any:
        """Build the component as a recipe does: an integer default of a `float` setting becomes a float.

        Args:
            positional: the positional parameters of the interface
            settings: settings by name; the others have their defaults
        """
        return self.maker(*positional, **{**float_defaults(self.maker), **settings})

    @property
    def where(self) -> str:
        """The file and line of its definition."""
        return where(self.maker)

    @property
    def summary(self) -> str:
        """The first line of its docstring."""
        return summary(self.maker)


class Registry:
    """Components, by interface and name.

    Args:
        plugin: the name of the plugin that registers components with `add`
    """

    def __init__(self, plugin: str | None = None) -> None:
        self.failed_plugins: list[str] = []  # these have no components here
        self._components: dict[type, dict[str, Component]] = {}
        self._plugin = plugin

    def add(self, interface: TypeForm[T], **makers: Callable[..., T]) -> None:
        """Register components of an interface.

        Args:
            interface: the class that the components implement, such as `seqx.Attention`
            makers: the components by the names that recipes use; each is a class, or a function that builds
                the component

        Raises:
            RegistrationError: another component has the name, the name has other characters than lowercase
                letters, digits and underscores, or the constructor does not fit the interface
        """
        if not isinstance(interface, type):
            raise RegistrationError(f"an interface must be a class, not {interface!r}")
        cls = cast("type", interface)
        for name, maker in makers.items():
            if not _NAME.fullmatch(name):
                owner = "" if self._plugin is None else f"plugin {self._plugin!r} registers "
                raise RegistrationError(
                    f"{where(maker)}: {owner}the {cls.__name__} {name!r}; a name has lowercase letters, "
                    "digits and underscores, and begins with a letter, such as my_name"
                )
            _check_constructor(cls, name, maker)
            settings = settings_of(maker)
            if "type" in settings:
                raise RegistrationError(
                    f"{where(maker)}: a setting cannot be called 'type', because 'type' names the component"
                )
            self.extend([Component(name, cls, maker, settings, self._plugin)])

    def extend(self, components: Sequence[Component]) -> None:
        """Add components that another registry has checked: all of them, or none.

        Raises:
            RegistrationError: another component of the same interface has the name
        """
        for new in components:
            existing = self._components.get(new.interface, {}).get(new.name)
            if existing is not None:
                owner = f"from plugin {existing.plugin!r}, " if existing.plugin else "from "
                raise RegistrationError(
                    f"{new.where}: {new.interface.__name__} {new.name!r} already exists, "
                    f"{owner}{existing.where}; choose another name"
                )
        for new in components:
            self._components.setdefault(new.interface, {})[new.name] = new

    def interfaces(self) -> list[type]:
        """Return every interface that has a component, in the order of registration."""
        return list(self._components)

    def components(self, interface: type) -> Mapping[str, Component]:
        """Return the components of an interface by name, with those of its base classes that implement it.

        For example, the components of `seqx.Generator` are those of `seqx.Model` that are generators.
        """
        found = dict(self._components.get(interface, {}))
        for base in interface.__mro__[1:]:
            for name, component in self._components.get(base, {}).items():
                if isinstance(component.maker, type) and issubclass(component.maker, interface):
                    found.setdefault(name, component)
        return found

    def components_of(self, plugin: str) -> list[Component]:
        """Return the components that a plugin registered."""
        return [c for named in self._components.values() for c in named.values() if c.plugin == plugin]


def provided_parameters(maker: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names of the positional parameters of a constructor, which its parent passes."""
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return tuple(p.name for p in _parameters(maker).values() if p.kind in positional)


def settings_of(maker: Callable[..., Any]) -> dict[str, Setting]:
    """Return the settings of a constructor: its keyword-only parameters, by name.

    Raises:
        RegistrationError: a setting has no type annotation, or `renamed` does not fit the settings
    """
    hints = _hints(maker)
    helps = _helps(maker)
    factories = {
        f.name: f.default_factory
        for f in (dataclasses.fields(maker) if dataclasses.is_dataclass(maker) else ())
        if f.default_factory is not dataclasses.MISSING
    }
    settings = {}
    for parameter in _parameters(maker).values():
        name = parameter.name
        if parameter.kind is not parameter.KEYWORD_ONLY:
            continue
        if name not in hints:
            raise RegistrationError(f"{where(maker)}: setting {name!r} needs a type annotation")
        default = factories[name]() if name in factories else parameter.default
        settings[name] = Setting(name, hints[name], default, helps.get(name, ""))
    for old, new in renamed_settings(maker).items():
        if old in settings or new not in settings:
            raise RegistrationError(
                f"{where(maker)}: renamed = {{{old!r}: {new!r}}} must map an old name to a setting"
            )
    return settings


def renamed_settings(maker: Callable[..., Any]) -> dict[str, str]:
    """Return the new names of renamed settings by their old names: the class attribute `renamed`.

    A subclass with its own constructor inherits only the entries whose new name is one of its settings.
    """
    target = without_partials(maker)
    renamed: dict[str, str] = getattr(target, "renamed", {})
    if "renamed" in getattr(target, "__dict__", {}):
        return dict(renamed)
    parameters = _parameters(target)
    return {old: new for old, new in renamed.items() if new in parameters and old not in parameters}


def renamed_values(maker: Callable[..., Any], old: str) -> Mapping[str, Any]:
    """Return the new values of a renamed setting by their old values: the class attribute `renamed_values`.

    It is empty if the values are the same under the new name.
    """
    values: Mapping[str, Mapping[str, Any]] = getattr(without_partials(maker), "renamed_values", {})
    return values.get(old, {})


def section_settings(cls: Callable[..., Any]) -> dict[str, Setting]:
    """Return the settings of a section.

    Raises:
        RegistrationError: a parameter of the section is not keyword-only
    """
    if provided_parameters(cls):
        names = ", ".join(provided_parameters(cls))
        raise RegistrationError(f"{where(cls)}: make {names} keyword-only, like all settings of a section")
    return settings_of(cls)


def where(maker: Callable[..., Any]) -> str:
    """Return FILE:LINE of a definition; the path is relative if the file is in the working directory."""
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
    """Return the first line of the docstring of `thing`; an inherited docstring does not count."""
    doc = thing.__dict__.get("__doc__") if isinstance(thing, type) else getattr(thing, "__doc__", None)
    return inspect.cleandoc(doc).partition("\n")[0] if doc else ""


def _check_constructor(interface: type, name: str, maker: Callable[..., Any]) -> None:
    """Check the parameters of a constructor, and that a class implements its interface."""
    expected, actual = provided_parameters(interface), provided_parameters(maker)
    title = interface.__name__
    if expected != actual:
        raise RegistrationError(
            f"{where(maker)}: the positional parameters of every {title} are ({', '.join(expected)}), but "
            f"those of {name} are ({', '.join(actual)}); put settings after a '*'"
        )
    if isinstance(maker, type) and not issubclass(maker, interface):
        raise RegistrationError(
            f"{where(maker)}: {name} is not a subclass of {title}; derive it from that class"
        )
    if missing := sorted(getattr(maker, "__abstractmethods__", ())):
        raise RegistrationError(
            f"{where(maker)}: {name} must implement {', '.join(missing)}, like every {title}"
        )
    inherited = isinstance(maker, type) and maker.__init__ is interface.__init__  # type: ignore[misc]
    for parameter in _parameters(maker).values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) and not inherited:
            raise RegistrationError(
                f"{where(maker)}: {name} takes {parameter}, which hides its settings; name each setting"
            )


def _parameters(maker: Any) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of a constructor from a cache, because each registration reads them often."""
    return _signature(maker).parameters


@functools.cache
def _signature(maker: Callable[..., Any]) -> inspect.Signature:
    signature, floats = inspect.signature(maker), float_defaults(maker)
    if not floats:
        return signature
    parameters = signature.parameters.values()
    return signature.replace(
        parameters=[each.replace(default=floats.get(each.name, each.default)) for each in parameters]
    )


def _function(maker: Callable[..., Any]) -> Any:
    maker = without_partials(maker)
    return maker.__init__ if isinstance(maker, type) else maker  # type: ignore[misc]


def _hints(maker: Callable[..., Any]) -> dict[str, Any]:
    function = _function(maker)
    if not hasattr(function, "__annotations__"):
        return {}  # the constructor of `object` has no annotations
    try:
        return get_type_hints(function, include_extras=True)
    except NameError as error:
        raise RegistrationError(
            f"{where(maker)}: {error}; annotations are read at run time, so import it outside TYPE_CHECKING"
        ) from error


_ARGUMENT = re.compile(r"(\s+)\*{0,2}(\w+)(?: \([^)]*\))?: *(.*)")


def _helps(maker: Callable[..., Any]) -> dict[str, str]:
    """Return the help of each setting from the `Args:` sections; a class overrides its base classes."""
    owners = maker.__mro__ if isinstance(maker, type) else (maker,)
    helps: dict[str, str] = {}
    for owner in reversed(owners):
        doc = owner.__dict__.get("__doc__") if isinstance(owner, type) else owner.__doc__
        helps |= _arguments(doc) if doc else {}
    return helps


@functools.cache
def _arguments(doc: str) -> Mapping[str, str]:
    """Return the texts of the `Args:` section of a docstring by the names of the parameters."""
    found: dict[str, str] = {}
    name, indent = "", 0
    for line in inspect.cleandoc(doc).partition("\nArgs:\n")[2].splitlines():
        if line.strip() and not line.startswith(" "):
            break
        match = _ARGUMENT.fullmatch(line)
        if match and (not indent or len(match[1]) == indent):
            indent, name = len(match[1]), match[2]
            found[name] = match[3].strip()
        elif name and line.strip():
            found[name] += " " + line.strip()
    return found
