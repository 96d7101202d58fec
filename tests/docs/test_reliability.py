"""Each promise of docs/reliability.md names a test that there is."""

import re

import pytest

from tests.docs.listings import ROOT

NAMED = re.findall(
    r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
)


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_each_promise_names_a_test(file: str, name: str) -> None:
    assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8")


def test_each_row_of_a_table_ends_with_a_test() -> None:
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| Promise")]
    assert len(rows) == len(NAMED)
    assert all("::" in row.split("|")[-2] for row in rows)
