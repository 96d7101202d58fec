"""From several columns of a corpus to one text."""

import re
from dataclasses import dataclass
from functools import cached_property

import seqx

_PLACE = re.compile(r"\{(\d+)\}")


@dataclass(frozen=True)
class Template:
    """Text with places for columns: `question: {0} context: {1}`; other braces are text."""

    text: str

    @cached_property
    def columns(self) -> tuple[int, ...]:
        """The columns that have a place, from 0, each once, in ascending order."""
        return tuple(sorted({int(number) for number in _PLACE.findall(self.text)}))

    def typed(self, row: tuple[str, ...]) -> str:
        """A row's columns as a user types them: in one line, with tabs between."""
        return "\t".join(row[column].replace("\t", " ") for column in self.columns)

    def fill(self, line: str) -> str:
        """The whole text, from columns with tabs between; in a line of one column a tab is a space.

        Raises:
            UserError: other columns than the template has places for
        """
        given = line.split("\t") if len(self.columns) > 1 else [line.replace("\t", " ")]
        if len(given) != len(self.columns):
            wanted = ", ".join(f"{{{column}}}" for column in self.columns)
            raise seqx.UserError(
                f"an input has {len(given)} columns, with tabs between them, but the template has {wanted}; "
                f"the input begins {line[:40]!r}"
            )
        values = dict(zip(self.columns, given, strict=True))
        return _PLACE.sub(lambda match: values[int(match[1])], self.text)
