"""Tables in Markdown."""

import seqx


def test_markdown_table_escapes_bars_and_line_breaks() -> None:
    assert [*seqx.markdown_table(["a|b", "c"], [["<b>x|y&%_", "1\n2"]])] == [
        r"| a\|b       | c   |",
        "|------------|-----|",
        r"| <b>x\|y&%_ | 1 2 |",
    ]
