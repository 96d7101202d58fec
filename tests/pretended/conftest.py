"""These tests need a process of their own: once the pretended GPU is registered, torch keeps it.

The Makefile runs them after the others.
"""

from pathlib import Path

import pytest

from benchmarks import corpus
from seqx.data.store import Store


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Pairs of ids."""
    return corpus.store(tmp_path_factory.mktemp("store"), pairs=60, vocabulary=40, mean=8)


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for recipes."""
    return tmp_path_factory.mktemp("recipes")
