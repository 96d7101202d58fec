"""Find the laws that a component breaks, and mark the tests of bfloat16."""

import unittest
from collections.abc import Callable
from typing import Any

import pytest

from seqx.plugin.registry import Component, settings_of
from seqx.testing import Subject, laws_of

Broken = Callable[..., set[str]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of bfloat16 laws, which also run with smaller instruction sets."""
    for item in items:
        if "bfloat16" in item.name:
            item.add_marker(pytest.mark.isa)


@pytest.fixture
def broken() -> Broken:
    """Return a function that returns the names of the laws that a component breaks."""

    def broken_laws(interface: type, maker: Callable[..., Any], *, without: str = "") -> set[str]:
        subject = Subject(Component("broken", interface, maker, settings_of(maker)))
        names = set()
        for law in laws_of(interface, maker):
            if getattr(law, "__name__", "") == without:
                continue
            try:
                law(subject)
            except unittest.SkipTest:
                raise
            except Exception:  # noqa: BLE001 (a law may raise any exception)
                names.add(getattr(law, "__name__", ""))
        return names

    return broken_laws
