"""Print the promises that the collected tests hold: a pytest plugin.

    pytest --collect-only -p tests.docs.promises

prints a line `promise NAME TEST` for each case of each test with a marker `promise`. TEST is the file if the
whole file is marked.
"""

import pytest


def pytest_collection_finish(session: pytest.Session) -> None:
    """Print the lines after the tests were collected."""
    for item in session.items:
        for node, marker in item.iter_markers_with_node("promise"):
            test = node.nodeid.partition("[")[0]
            print("promise", *marker.args, test)  # noqa: T201
