"""Fixtures for tests on the simulated GPU.

These tests need a process of their own, because the simulated GPU cannot be unregistered. The Makefile runs
them after the other tests.
"""

from pathlib import Path

import pytest

from benchmarks import corpus
from seqx.data.store import Store


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Return prepared data with 60 sentence pairs."""
    return corpus.store(tmp_path_factory.mktemp("store"), pairs=60, vocabulary=40, mean=8)


@pytest.fixture(scope="session")
def recipe_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a new folder for recipes."""
    return tmp_path_factory.mktemp("recipes")
