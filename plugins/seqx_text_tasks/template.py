"""Templates that combine several columns of a corpus into one text."""

import re
from dataclasses import dataclass
from functools import cached_property

import seqx

_PLACEHOLDER = re.compile(r"\{(\d+)\}")


@dataclass(frozen=True)
class Template:
    """A text with placeholders of columns: `question: {0} context: {1}`. Other braces are plain text."""

    text: str

    @cached_property
    def columns(self) -> tuple[int, ...]:
        """The numbers of the columns with a placeholder, counted from 0, each once, in ascending order."""
        return tuple(sorted({int(number) for number in _PLACEHOLDER.findall(self.text)}))

    def to_input(self, row: tuple[str, ...]) -> str:
        """Return the columns of a row as an input: one line, separated by tabs."""
        return "\t".join(row[column].replace("\t", " ") for column in self.columns)

    def fill(self, line: str) -> str:
        """Fill the template with tab-separated columns; a template with one column takes the whole line.

        Raises:
            UserError: the line has another number of columns
        """
        values = line.split("\t") if len(self.columns) > 1 else [line.replace("\t", " ")]
        if len(values) != len(self.columns):
            wanted = ", ".join(f"{{{column}}}" for column in self.columns)
            raise seqx.UserError(
                f"an input has {len(values)} columns, separated by tabs, but the template has {wanted}; "
                f"the input begins {line[:40]!r}"
            )
        by_column = dict(zip(self.columns, values, strict=True))
        return _PLACEHOLDER.sub(lambda match: by_column[int(match[1])], self.text)
