"""The listings of Markdown documents: commands with their output, Python, recipes.

Comments above a block tell the tests how to treat it:

    <!-- not run: REASON -->              the commands are checked, not run
    <!-- output not compared: REASON -->  only the exit code is compared
    <!-- exit code N -->                  expected exit code of the last command of the block

If a name follows the language (```yaml mine.yaml), the listing is written to that file.
"""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

_BLOCK = re.compile(r"((?:^<!--.*?-->\n)*)^```(\w*)(?: +(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CHECKOUT = re.compile(r"\S*/(?=recipes/)")
_MEASURED = re.compile(r"(?!\d[\d,]* (?:parameters|passed)\b|\d+$)[-+]?\b\d[\d,.:]*(?:e[-+]?\d+)?%?")


@dataclass(frozen=True)
class Command:
    """A command after `$`, with its continuation lines, and the output below it."""

    text: str
    output: list[str]


@dataclass(frozen=True)
class Listing:
    """A fenced block."""

    place: str
    language: str
    file: str | None
    text: str
    notes: str

    @property
    def runs(self) -> bool:
        """Return true if a test may run the block."""
        return "<!-- not run: " not in self.notes

    @property
    def compared(self) -> bool:
        """Return true if the output must be as shown."""
        return "<!-- output not compared: " not in self.notes

    @property
    def exit_code(self) -> int:
        """Return the expected exit code of the last command."""
        match = re.search(r"<!-- exit code (\d+) -->", self.notes)
        return int(match[1]) if match else 0

    def commands(self) -> list[Command]:
        """Return the commands of a console block, in order."""
        commands: list[Command] = []
        lines = iter(self.text.splitlines())
        for line in lines:
            if not line.startswith("$ "):
                commands[-1].output.append(line)
                continue
            text = line[2:]
            while text.endswith("\\"):
                text += "\n" + next(lines)
            commands.append(Command(text, []))
        return commands


def listings(document: Path) -> list[Listing]:
    """Return the fenced blocks of a document, in order."""
    text = document.read_text(encoding="utf-8")
    return [
        Listing(
            place=f"{document.relative_to(ROOT)}:{text.count(chr(10), 0, match.start(2)) + 1}",
            language=match[2],
            file=match[3],
            text=match[4],
            notes=match[1],
        )
        for match in _BLOCK.finditer(text)
    ]


def first_missing_line(shown: list[str], printed: str) -> str | None:
    """Return the first shown line that was not printed, or not in this order; None if there is none.

    A shown line `...` stands for any lines. Runs of spaces and measured numbers are ignored. Numbers of
    parameters, numbers of passed tests, and numbers at the end of a line must be as shown.
    """
    remaining = iter([_normalized(line) for line in printed.splitlines()])
    expected = [line for line in shown if line.strip() not in ("", "...")]
    return next((line for line in expected if _normalized(line) not in remaining), None)


def _normalized(line: str) -> str:
    return " ".join(_MEASURED.sub("#", _CHECKOUT.sub("", line)).split())
