"""A pytest plugin that prints the promises of the collected tests.

    pytest --collect-only -p tests.docs.promises

It prints a line `promise NAME TEST` for each test case with a marker `promise`. TEST is the file if the whole
file is marked.
"""

from collections.abc import Iterable, Iterator

import pytest


def promises_of(items: Iterable[pytest.Item]) -> Iterator[tuple[str, str]]:
    """Yield each promise of each test case, and the test."""
    for item in items:
        for node, marker in item.iter_markers_with_node("promise"):
            yield marker.args[0], node.nodeid.partition("[")[0]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Print a line for each promise of each collected test case."""
    for name, test in promises_of(session.items):
        print("promise", name, test)  # noqa: T201
