"""Registration of laws, and the pytest function that checks them for the components of a plugin."""

import difflib
import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from torch import nn

from seqx.plugin.base_constructor import check_base_constructor
from seqx.plugin.registry import Component, Registry, where
from seqx.testing.checks import set_seed


@dataclass(frozen=True)
class Subject:
    """A component and the settings to build it with."""

    component: Component
    settings: Mapping[str, Any] = field(default_factory=dict)

    def build(self, *arguments: Any, seed: int = 0) -> Any:
        """Build the component with provided parameters and a seed; set a module to evaluation mode."""
        set_seed(seed)
        instance = self.component.build(*arguments, **self.settings)
        check_base_constructor(self.component, instance)
        return instance.eval() if isinstance(instance, nn.Module) else instance


Law = Callable[[Subject], None]
"""A function that raises an exception if a component breaks the law."""

_MISSPELT = 0.85
"""The similarity of two names, 0 to 1, from which one may be a misspelling of the other."""

_LAWS: dict[type, list[Law]] = {}


def law(interface: type) -> Callable[[Law], Law]:
    """Register the decorated function as a law of all components of an interface.

    Args:
        interface: interface of the components; `object`: all interfaces
    """

    def register(function: Law) -> Law:
        _LAWS.setdefault(interface, []).append(function)
        return function

    return register


def laws_of(interface: type, maker: Callable[..., Any] | None = None) -> list[Law]:
    """Return the laws that a component of an interface must obey, including those of all interfaces.

    Args:
        interface: the interface
        maker: the component; if it is a class, the laws of its base classes are included, such as those of
            `seqx.Generator` for a `seqx.Model`
    """
    cls = maker if isinstance(maker, type) else interface
    bases: list[type] = [object, *(base for base in reversed(cls.__mro__) if issubclass(base, interface))]
    return [law for base in dict.fromkeys(bases) for law in _LAWS.get(base, [])]


def name_of(check: Law) -> str:
    """Return the name of a law."""
    return getattr(check, "__name__", None) or str(check)  # str prints tensors, which takes long


def subjects(
    *plugins: ModuleType,
    settings: Mapping[Callable[..., Any], Mapping[str, Any]] | None = None,
    without: Collection[Callable[..., Any]] = (),
) -> list[Subject]:
    """Return the components of plugins with the settings to build them. `laws` explains the parameters.

    Raises:
        ValueError: a component has required settings and `settings` has none for it
    """
    settings = settings or {}
    registry = Registry()
    for plugin in plugins:
        if hasattr(plugin, "seqx_register"):
            plugin.seqx_register(registry)
    chosen = []
    for interface in registry.interfaces():
        for component in registry.components(interface).values():
            maker = component.maker
            if maker in without:
                continue
            own = settings.get(maker, {})
            missing = [s.name for s in component.settings.values() if s.required and s.name not in own]
            if missing:
                raise ValueError(
                    f"{component.where}: {interface.__name__} {component.name} needs the settings "
                    f"{', '.join(missing)}; pass them to laws(settings=...)"
                )
            chosen.append(Subject(component, own))
    return chosen


def laws(
    *plugins: ModuleType,
    settings: Mapping[Callable[..., Any], Mapping[str, Any]] | None = None,
    without: Collection[Callable[..., Any]] = (),
) -> Callable[..., None]:
    """Return a test function that checks every law for every component of `plugins`.

    Tests are named like `Decoder-transformer-padding_does_not_change_outputs`.

    Args:
        plugins: modules with `seqx_register`
        settings: settings by class; a component without an entry is built with its defaults
        without: classes to omit, for example because they need a download

    Raises:
        ValueError: a component has required settings and `settings` has none for it
    """
    import pytest  # noqa: PLC0415  `seqx check FILE.py` checks laws without it

    cases = [
        pytest.param(check, subject, id=f"{interface.__name__}-{subject.component.name}-{name_of(check)}")
        for subject in subjects(*plugins, settings=settings, without=without)
        for interface in [subject.component.interface]
        for check in laws_of(interface, subject.component.maker)
    ]

    @pytest.mark.parametrize(("check", "subject"), cases)
    def test_laws(check: Law, subject: Subject) -> None:
        check(subject)

    return test_laws


@law(object)
def every_setting_is_documented(subject: Subject) -> None:
    """The docstring of the component has a summary and describes each setting."""
    assert subject.component.summary, f"{subject.component.where}: the component has no docstring; add one"
    undocumented = [setting.name for setting in subject.component.settings.values() if not setting.help]
    assert not undocumented, (
        f"{subject.component.where}: add these settings to Args of the docstring: {', '.join(undocumented)}"
    )


@law(object)
def no_method_is_misspelt(subject: Subject) -> None:
    """No method has nearly the name of a method of the interface: it would not override that method."""
    interface, maker = subject.component.interface, subject.component.maker
    own = [cls for cls in maker.__mro__ if cls not in interface.__mro__] if isinstance(maker, type) else []
    names = {name for cls in own for name, value in vars(cls).items() if inspect.isfunction(value)}
    inherited = [name for name in dir(interface) if not name.startswith("_") and name not in names]
    for name in sorted(names - {*dir(interface)}):
        near = difflib.get_close_matches(name, inherited, 1, _MISSPELT)
        assert not near, (
            f"{where(maker)}: {name} is not a method of {interface.__name__}; did you mean {near[0]!r}? If "
            "not, choose a name that differs more"
        )
