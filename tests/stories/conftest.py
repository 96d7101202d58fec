"""Each test of a story starts in an empty folder. The tests share a cache and runs of the tiny recipe."""

import shutil
from collections.abc import Callable
from functools import cache as cached
from pathlib import Path

import pytest

from tests.stories.tiny import done, tiny


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def finished(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that copies the run of the tiny recipe to `runs/tiny`.

    It takes settings, as `seqx run` does. Tests that use the same settings copy the same run.
    """

    @cached
    def train(*settings: str) -> Path:
        folder = tmp_path_factory.mktemp("finished")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SEQX_CACHE", str(cache))
            patch.chdir(folder)
            done("run", tiny(), *settings)
        return folder / "runs" / "tiny"

    return lambda *settings: Path(shutil.copytree(train(*settings), "runs/tiny"))


@pytest.fixture(autouse=True)
def _empty_folder(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQX_CACHE", str(cache))
    monkeypatch.chdir(tmp_path)
