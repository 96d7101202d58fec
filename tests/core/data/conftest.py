"""A task with generated pairs, and its prepared data."""

import pytest

from seqx.data.prepare import prepare
from seqx.data.store import Store
from tests.core.data.pairs import Pairs, rows


@pytest.fixture(scope="module")
def task() -> Pairs:
    return Pairs({"train": rows(400)})


@pytest.fixture(scope="module")
def store(task: Pairs, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return prepare(task, "train", {}, tmp_path_factory.mktemp("cache"))
