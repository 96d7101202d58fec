"""What a law is, and how the laws become a plugin's tests."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from seqx.plugin.registry import Component, Registry


@dataclass(frozen=True)
class Subject:
    """A component and the settings it is built with."""

    component: Component
    settings: Mapping[str, Any] = field(default_factory=dict)

    def build(self, *given: Any, seed: int = 0) -> Any:
        """A fresh one, always the same for the same seed; not in training mode."""
        torch.manual_seed(seed)
        made = self.component.maker(*given, **self.settings)
        return made.eval() if isinstance(made, nn.Module) else made


Law = Callable[[Subject], None]

_LAWS: dict[type, list[Law]] = {}


def law(kind: type) -> Callable[[Law], Law]:
    """Every component of `kind` (`object`: of any kind) obeys the decorated function, which asserts."""

    def keep(function: Law) -> Law:
        _LAWS.setdefault(kind, []).append(function)
        return function

    return keep


def laws_of(kind: type) -> list[Law]:
    """The laws for components of a kind."""
    return [*_LAWS.get(object, []), *_LAWS.get(kind, [])]


def subjects(
    *plugins: ModuleType,
    settings: Mapping[Callable[..., Any], Mapping[str, Any]] | None = None,
    without: Collection[Callable[..., Any]] = (),
) -> list[Subject]:
    """What the laws are to be tried on (see `laws`)."""
    settings = settings or {}
    registry = Registry()
    for plugin in plugins:
        if hasattr(plugin, "seqx_register"):
            plugin.seqx_register(registry)
    found = []
    for kind in registry.interfaces():
        for component in registry.components(kind).values():
            maker = component.maker
            if maker in without:
                continue
            chosen = settings.get(maker, {})
            missing = [s.name for s in component.settings.values() if s.required and s.name not in chosen]
            if missing:
                raise ValueError(
                    f"{component.where}: {kind.__name__} {component.name} cannot be built without "
                    f"{', '.join(missing)}; give laws(...) settings for it"
                )
            found.append(Subject(component, chosen))
    return found


def laws(
    *plugins: ModuleType,
    settings: Mapping[Callable[..., Any], Mapping[str, Any]] | None = None,
    without: Collection[Callable[..., Any]] = (),
) -> Callable[..., None]:
    """A test function that tries every law on every component of `plugins`.

    Components are built with their defaults, or with what `settings` has for them by class; those in
    `without` are left out (what cannot be tried without a download). Tests are named like
    `Decoder-transformer-token_by_token`.

    Raises:
        ValueError: when a component has required settings and `settings` has none for it
    """
    cases = [
        pytest.param(
            check, subject, id=f"{subject.component.interface.__name__}-{subject.component.name}-{name}"
        )
        for subject in subjects(*plugins, settings=settings, without=without)
        for check in laws_of(subject.component.interface)
        for name in [getattr(check, "__name__", str(check))]
    ]

    @pytest.mark.parametrize(("check", "subject"), cases)
    def test_laws(check: Law, subject: Subject) -> None:
        check(subject)

    return test_laws


@law(object)
def every_setting_is_documented(subject: Subject) -> None:
    """The class says what it is in one line, and what each setting means."""
    assert subject.component.summary, f"{subject.component.where} has no docstring"
    silent = [setting.name for setting in subject.component.settings.values() if not setting.help]
    assert not silent, f"{subject.component.where}: Args of the docstring say nothing about {silent}"
