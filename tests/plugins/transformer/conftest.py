"""A vocabulary that the tests of exporters share."""

from pathlib import Path

import pytest

from tests.exported import random_model


@pytest.fixture(scope="session")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_model(tmp_path_factory.mktemp("vocabulary") / "model").vocabulary
