"""A law finds each typical mistake, and its message says what is wrong and where to look."""

from typing import Any

import pytest

import seqx
from seqx.plugin.registry import Component, settings_of
from seqx.testing import Subject, laws_of
from tests.docs.listings import ROOT
from tests.laws.conftest import Broken
from tests.laws.mistakes import attention, networks, text, training
from tests.laws.mistakes.mistake import Mistake

MISTAKES = [*attention.MISTAKES, *networks.MISTAKES, *training.MISTAKES, *text.MISTAKES]
CORRECT: dict[type, Any] = {
    seqx.Attention: attention.DotProduct,
    **networks.CORRECT,
    **training.CORRECT,
    **text.CORRECT,
}


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.component.__name__)
def test_law_finds_the_mistake_and_names_its_cause(mistake: Mistake) -> None:
    settings = settings_of(mistake.component)
    subject = Subject(Component("mistake", mistake.interface, mistake.component, settings))
    (law,) = (
        law
        for law in laws_of(mistake.interface, mistake.component)
        if getattr(law, "__name__", "") == mistake.law
    )
    with pytest.raises(AssertionError, match=f"(?s){mistake.message}"):
        law(subject)


@pytest.mark.parametrize("interface", CORRECT, ids=lambda interface: interface.__name__)
def test_components_without_the_mistakes_obey_all_laws(broken: Broken, interface: type) -> None:
    assert broken(interface, CORRECT[interface], without="compiles") == set()


def test_documentation_lists_all_mistakes() -> None:
    document = (ROOT / "docs/how-to/write_components.md").read_text(encoding="utf-8")
    rows = [f"| {m.interface.__name__} | {m.description} | `{m.law}` |" for m in MISTAKES]
    missing = [row for row in rows if row not in document]
    assert not missing, "docs/how-to/write_components.md needs these rows:\n" + "\n".join(missing)
