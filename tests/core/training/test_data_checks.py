"""Examples that do not fit what their task declares are refused before training."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import seqx
from seqx.data.encode import LeakFinder, RowEncoder
from seqx.data.ragged import Ragged, compact
from seqx.errors import PluginError
from seqx.training.data_checks import check_columns
from tests.core.inference.task_without_data import TaskWithoutData

IDS, VECTORS = [[4, 5], [6]], [np.ones((2, 3)), np.zeros((1, 3))]


class Declared(TaskWithoutData):
    """A task with vectors of 3 features as source, and ids below 9 as target."""

    returned: Any = None  # by `example`

    @property
    def vocab_sizes(self) -> Mapping[str, int]:
        return {"source": seqx.Features(3), "target": 9}

    def read(self, source: Any) -> Mapping[str, seqx.Values]:
        raise NotImplementedError

    def write(self, ids: Sequence[int], source: Any, labels: Mapping[str, Sequence[int]]) -> str:
        raise NotImplementedError

    def example(self, row: Any, *, training: bool) -> Any:
        return self.returned


def store(**columns: Sequence[Any]) -> Any:
    ragged = {name: compact(Ragged.of_rows(rows)) for name, rows in columns.items()}
    return SimpleNamespace(columns=ragged, lengths=lambda name: ragged[name].lengths())


def test_columns_that_fit_are_accepted() -> None:
    check_columns(Declared(), store(source=VECTORS, target=IDS))
    check_columns(Declared(), store(source=[np.zeros((0, 3))], target=IDS))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"source": [np.ones((2, 4))], "target": IDS}, "have vectors of 4 features in the column 'source'"),
        ({"source": IDS, "target": IDS}, "have ids up to 6 in the column 'source'"),
        ({"source": [[0.5]], "target": IDS}, "have numbers that are not ids in the column 'source'"),
        ({"source": VECTORS, "target": VECTORS}, "have vectors of 3 features in the column 'target'"),
        (
            {"source": VECTORS, "target": [[9]]},
            "have ids up to 9 .*, but its vocab_sizes say ids below 9;",
        ),
        (
            {"source": VECTORS},
            "have no column 'target', but its .*; their columns are source",
        ),
    ],
)
def test_columns_that_do_not_fit_are_named(columns: Any, message: str) -> None:
    with pytest.raises(PluginError, match=rf"test_data_checks.py:\d+: the examples of the task {message}"):
        check_columns(Declared(), store(**columns))


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (None, "`example` must return a seqx.Example or a seqx.Rejected, not NoneType"),
        (
            seqx.Example(columns={"source": None}),
            "the column 'source' .* 'NoneType' has no len",
        ),
        (seqx.Example(columns={"source": [[1, 2], [3]]}), "the column 'source' of a task: .*inhomogeneous"),
        (
            seqx.Example(columns={"source": ["a"]}),
            "the column 'source' .* values have the type <U1",
        ),
        (seqx.Example(columns={"source": [np.nan]}), "the column 'source' of a task: .* not finite"),
    ],
)
def test_example_of_a_task_that_cannot_be_stored_is_named(example: Any, message: str) -> None:
    task = Declared()
    task.returned = example
    encoder = RowEncoder(task=task, training=True, text=False, leaks=LeakFinder({}), drop_leaks=False)
    with pytest.raises(PluginError, match=rf"test_data_checks.py:\d+: {message}"):
        encoder([("a row",)])
