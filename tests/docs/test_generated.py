"""The generated pages of docs/reference/ are current."""

from pathlib import Path

import pytest

from docs.generate import PAGES, REFERENCE
from docs.generate_promises import promises
from tests.docs.promises import promises_of

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("name", sorted(PAGES.keys() - {"promises.md"}))
def test_generated_page_is_current(name: str) -> None:
    written = (REFERENCE / name).read_text(encoding="utf-8")
    assert written == PAGES[name](), "run `python -m docs.generate`"


def test_generated_page_of_promises_is_current(request: pytest.FixtureRequest) -> None:
    """If this session has all tests, use those; collecting them again takes seconds."""
    config = request.config
    is_complete = [Path(config.rootpath, argument) for argument in config.args] == [TESTS]
    is_complete &= not config.getoption("keyword") and not config.getoption("markexpr")
    items = sorted(request.session.items, key=lambda item: str(item.path))
    page = promises(promises_of(items)) if is_complete else promises()
    assert page == (REFERENCE / "promises.md").read_text(encoding="utf-8"), "run `python -m docs.generate`"
