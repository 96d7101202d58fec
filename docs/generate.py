"""Write the generated pages of docs/reference/ from docstrings, the registry and the tests.

    python -m docs.generate

A test compares the pages with what this writes.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from docs.generate_promises import promises

REFERENCE = Path(__file__).parent / "reference"

PAGES: Mapping[str, Callable[[], str]] = {
    "promises.md": promises,
}


def main() -> None:
    """Write every page."""
    for name, page in PAGES.items():
        (REFERENCE / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
