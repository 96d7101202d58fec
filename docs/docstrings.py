"""Docstrings in Google style as Markdown."""

import inspect
import re

_SECTION = re.compile(r"^(Args|Raises|Returns|Yields):$")
_ITEM = re.compile(r"^ {4}(\*{0,2}[\w.]+)(?: \([^)]*\))?: *(.*)$")


def markdown(docstring: str | None) -> str:
    """Return a docstring as Markdown: sections become lists, indented blocks become code."""
    lines: list[str] = []
    section, code = "", False
    for line in inspect.cleandoc(docstring or "").splitlines():
        if match := _SECTION.match(line):
            section = match[1]
            lines += ["Parameters:" if section == "Args" else f"{section}:", ""]
        elif section and (match := _ITEM.match(line)):
            lines.append(f"- `{match[1]}`: {match[2]}")
        elif section and line.strip():
            if not line.startswith(" "):
                section = ""
                lines += ["", line]
            else:
                lines.append(f"  {line.strip()}" if lines[-1].startswith(("- ", "  ")) else line.strip())
        elif line.startswith("    ") != code and (line.strip() or code) and not section:
            code = not code
            lines += ["```text", line[4:]] if code else [*_close(lines), line]
        else:
            lines.append(line[4:] if code else line)
    if code:
        lines += _close(lines)
    return "\n".join(lines).strip()


def _close(lines: list[str]) -> list[str]:
    """Return the end of a code block; blank lines before it are dropped."""
    while lines and not lines[-1].strip():
        lines.pop()
    return ["```", ""]
