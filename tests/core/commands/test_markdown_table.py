"""Tables in Markdown."""

import pytest

import seqx


def test_markdown_table_escapes_bars_and_line_breaks() -> None:
    assert [*seqx.markdown_table(["a|b", "c"], [["<b>x|y&%_", "1\n2"]])] == [
        r"| a\|b       | c   |",
        "|------------|-----|",
        r"| <b>x\|y&%_ | 1 2 |",
    ]


@pytest.mark.parametrize(
    "terminal", [{"COLUMNS": "20"}, {"COLUMNS": "20", "FORCE_COLOR": "1", "TERM": "dumb"}]
)
def test_markdown_table_does_not_depend_on_the_terminal(
    monkeypatch: pytest.MonkeyPatch, terminal: dict[str, str]
) -> None:
    expected = [*seqx.markdown_table(["a" * 30, "b"], [["c" * 40, "d" * 50]])]
    for name, value in terminal.items():
        monkeypatch.setenv(name, value)
    assert [*seqx.markdown_table(["a" * 30, "b"], [["c" * 40, "d" * 50]])] == expected
    assert len({*map(len, expected)}) == 1
