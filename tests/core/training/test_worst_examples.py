"""The examples with the largest gradients are found, and described in one line."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from seqx.data.batches import Batches
from seqx.data.loader import Position
from seqx.data.prepare import prepare
from seqx.interfaces.learning import Objective
from seqx.interfaces.networks import Model
from seqx.interfaces.tensors import Batch
from seqx.parallel.parallelism import Step
from seqx.training.recovery.worst_examples import describe_examples, worst_examples
from tests.core.data.pairs import Pairs, rows
from tests.core.training.test_loop import CPU, TokenTable


class LargeTable(TokenTable):
    """A model for 1,000 symbols."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(1000, 1000)


class WeightedExamples(Objective):
    """An objective that multiplies the losses of some examples, identified by their targets."""

    def __init__(self, factors: Mapping[tuple[int, ...], float]) -> None:
        super().__init__()
        self.factors = factors

    def forward(self, model: Model, batch: Batch) -> Mapping[str, Tensor]:
        target = batch.columns["target"]
        scale = torch.tensor(
            [
                self.factors.get(tuple(ids[keep].tolist()), 1.0)
                for ids, keep in zip(target.values, target.layout.keep, strict=True)
            ]
        )
        squares = (model.table(target.values).square().mean(-1) * target.layout.keep).sum(1)  # type: ignore[operator]
        return {"loss": (squares * scale).sum()}


@pytest.mark.promise("worst-examples-are-found")
@pytest.mark.parametrize("microbatch", [None, 100])
@pytest.mark.parametrize(
    ("factors", "expected"),
    [
        ([1e9, 1e6, 1e3], [0, 1, 2]),
        ([float("nan"), 1e6, 1e3], [0]),
        ([float("nan"), 1.0, float("inf")], [0, 2]),
    ],
)
def test_worst_examples_are_found_among_many(
    factors: list[float], expected: list[int], microbatch: int | None, tmp_path: Path
) -> None:
    store = prepare(Pairs({"train": rows(200)}), "train", {}, tmp_path)
    batches = Batches(store=store, tokens=600, microbatch=microbatch)
    at = Position(0, 2)
    numbers = np.concatenate(batches.plan(0).example_groups(2)).tolist()[3:6]
    factors_by_target = {
        tuple(store[i]["target"].tolist()): factor for i, factor in zip(numbers, factors, strict=True)
    }
    step = Step(LargeTable(), WeightedExamples(factors_by_target))
    found = worst_examples(step, batches, at, device=CPU, precision="fp32")
    assert set(found) == {numbers[i] for i in expected}
    assert all(p.grad is None for p in step.parameters())


def test_worst_examples_are_found_with_little_memory(tmp_path: Path) -> None:
    store = prepare(Pairs({"train": rows(200)}), "train", {}, tmp_path)
    batches = Batches(store=store, tokens=600)
    numbers = np.concatenate(batches.plan(0).example_groups(2)).tolist()
    objective = WeightedExamples({tuple(store[numbers[4]]["target"].tolist()): 1e9})

    class LimitedMemory(Step):
        def forward(self, batch: Batch) -> Mapping[str, Tensor]:
            if len(batch.columns["target"].values) > 2:
                raise torch.OutOfMemoryError
            return super().forward(batch)

    found = worst_examples(
        LimitedMemory(LargeTable(), objective), batches, Position(0, 2), device=CPU, precision="fp32"
    )
    assert (found[0], len(found)) == (numbers[4], 3)


def test_examples_are_described_in_one_line(tmp_path: Path) -> None:
    train = [("3 4 5", "6 7"), ("8\x1b[2J", " ".join(["9"] * 60))]
    store = prepare(Pairs({"train": train}, limit=99), "train", {}, tmp_path)
    first, both = describe_examples(store, [0]), describe_examples(store, [0, 1])
    assert first == f'example 0 (tokens: {len(store[0]["source"])} in source, 3 in target): "3 4 5 ||| 6 7"'
    assert both.startswith(f"{first}; example 1 (tokens: ")
    assert both.endswith(" ||| " + "9 " * 50 + '..."')
    assert both.isprintable()
