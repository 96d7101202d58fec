"""A pytest plugin that prints the promises of the collected tests.

    pytest --collect-only -p tests.docs.promises

It prints a line `promise NAME TEST` for each test case with a marker `promise`. TEST is the file if the whole
file is marked.
"""

import pytest


def pytest_collection_finish(session: pytest.Session) -> None:
    """Print a line for each promise of each collected test case."""
    for item in session.items:
        for node, marker in item.iter_markers_with_node("promise"):
            test = node.nodeid.partition("[")[0]
            print("promise", *marker.args, test)  # noqa: T201
