from pathlib import Path

import pytest

from tests.models import PARSING, write_model


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a translator `en-de` and a parser `parser`, whose weights are random."""
    folder = tmp_path_factory.mktemp("served")
    write_model(folder / "en-de" / "model")
    write_model(folder / "parser" / "model", text=PARSING)
    return folder
