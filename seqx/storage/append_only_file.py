"""A text file to which lines are appended."""

from pathlib import Path

from seqx.errors import unwritable


class AppendOnlyFile:
    """A text file that is opened for each appended line, so that readers always see whole lines.

    Raises:
        UserError: the file cannot be written
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._append("")

    def write(self, line: str) -> None:
        """Append a line."""
        self._append(f"{line}\n")

    def _append(self, text: str) -> None:
        try:
            with self.path.open("a", encoding="utf-8", errors="replace", newline="\n") as file:
                file.write(text)
        except OSError as error:
            raise unwritable(self.path, error, "choose another folder (--folder)") from None
