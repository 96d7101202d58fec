"""Write the generated pages of docs/reference/ from docstrings, the registry, the tests and the records.

    python -m docs.generate

A test compares the pages with what this writes.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from docs.generate_api import api
from docs.generate_promises import promises
from docs.generate_recipes import commands, components, settings
from docs.picture import picture

REFERENCE = Path(__file__).parent / "reference"

PAGES: Mapping[str, Callable[[], str]] = {
    "settings.md": settings,
    "components.md": components,
    "commands.md": commands,
    "api.md": api,
    "promises.md": promises,
    "components.svg": picture,
}


def main() -> None:
    """Write every page."""
    for name, page in PAGES.items():
        (REFERENCE / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
