"""Fixtures that the tests of exporters share."""

from pathlib import Path

import pytest

from tests.exported import random_model


@pytest.fixture(scope="session")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_model(tmp_path_factory.mktemp("vocabulary") / "model").vocabulary


@pytest.fixture
def few_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give exported models 64 positions, because transformers computes each number of them in Python."""
    monkeypatch.setattr("seqx_transformer.export.huggingface.MAX_POSITIONS", 64)
