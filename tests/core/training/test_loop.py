"""The training loop: microbatches, out-of-memory errors, clipping, and non-finite updates."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from seqx.data.loader import Microbatch, Position, UpdateBatch
from seqx.errors import OomRestartError, UserError
from seqx.interfaces.learning import Objective
from seqx.interfaces.networks import Generator, Model
from seqx.interfaces.tensors import Batch, Column
from seqx.parallel.parallelism import SingleDevice, Step
from seqx.training.gradient_accumulation import GradientAccumulation, oom_as_restart
from seqx.training.loop import updates
from seqx.training.update import Update

CPU = torch.device("cpu")


class TokenTable(Generator):
    """A model whose logits for each target token are a row of a table, selected by the source token."""

    def __init__(self) -> None:
        super().__init__({"source": 9, "target": 9})
        self.table = nn.Embedding(9, 9)
        self.modes: list[bool] = []

    def encode(self, source: Column) -> Tensor:
        self.modes.append(self.training)
        return self.table(source.values)

    def start(self, memory: Tensor, capacity: int | None) -> Tensor:
        return memory

    def advance(self, ids: Tensor, state: Tensor, keep: Tensor | None) -> tuple[Tensor, Tensor]:
        return state, state

    def head(self, outputs: Tensor) -> Tensor:
        return outputs


class ThreeSums(Objective):
    """An objective with two sums that are trained on and one that is only reported, each with its count."""

    trained_on = ("loss", "rows")

    def counts(self, batch: Batch) -> Mapping[str, int]:
        return {"loss": batch.count, "rows": len(batch.columns["target"].values), "seen": batch.count}

    def forward(self, model: Model, batch: Batch) -> Mapping[str, Tensor]:
        source, target = batch.columns["source"], batch.columns["target"]
        nll = -model.score(Batch.of(source=source, target=target)).sum()
        first = model(Batch.of(source=source, target=target))[:, 0].square().sum()
        return {"loss": nll, "rows": first, "seen": 1000 * nll}


def rising_rate(step: int) -> float:
    return step / 10


ROWS = [[4, 5, 6, 2], [7, 2], [8, 8, 4, 5, 2], [2], [6, 5, 2]]
WHOLE = [[0, 1, 2, 3, 4]]


def batch(rows: Sequence[Sequence[int]]) -> Batch:
    ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for line, row in zip(ids, rows, strict=True):
        line[: len(row)] = torch.tensor(row)
    tokens = Column.of(ids, torch.tensor([len(row) for row in rows]))
    return Batch({"source": tokens, "target": tokens}, sum(map(len, rows)))


def update_batches(split: Sequence[Sequence[int]]) -> Iterator[UpdateBatch]:
    """Yield the same update for ever; each list of `split` has the row numbers of one microbatch."""
    microbatches = [Microbatch(batch([ROWS[i] for i in rows]), np.array(rows)) for rows in split]
    index = 0
    while True:
        count = sum(map(len, ROWS))
        yield UpdateBatch(
            position=Position(0, index), microbatches=microbatches, target_tokens=count, token_fraction=0.75
        )
        index += 1


def step() -> Step:
    torch.manual_seed(1)
    return Step(TokenTable(), ThreeSums())


def accumulation(step: Step) -> GradientAccumulation:
    return GradientAccumulation(strategy=SingleDevice.of(step, CPU), device=CPU, precision="fp32")


def train(
    step: Step,
    batches: Iterable[UpdateBatch],
    *,
    clip: float | None = None,
    done: int = 0,
    momentum: float = 0.0,
    extra: Mapping[str, float] | None = None,
) -> Iterator[Update]:
    groups = [{"params": list(step.parameters()), **(extra or {})}]
    optimizer = torch.optim.SGD(groups, momentum=momentum)
    return updates(accumulation(step), optimizer, rising_rate, batches, clip=clip, done=done)


@pytest.mark.parametrize("split", [[[0, 1], [2, 3, 4]], [[0], [1], [2], [3], [4]], [[3], [4, 1, 0, 2]]])
def test_update_does_not_depend_on_its_microbatches(split: list[list[int]]) -> None:
    whole, accumulated = step(), step()
    for one, other in islice(
        zip(train(whole, update_batches(WHOLE)), train(accumulated, update_batches(split)), strict=True), 5
    ):
        assert one.loss == pytest.approx(other.loss, rel=1e-6)
        assert one.counts == other.counts == {"loss": 15, "rows": 5, "seen": 15}
        torch.testing.assert_close(one.norm, other.norm, rtol=1e-5, atol=0)
    for p, q in zip(whole.parameters(), accumulated.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-6)


class LimitedMemory(ThreeSums):
    """An objective that runs out of memory if a microbatch has more than `most` rows."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def forward(self, model: Model, batch: Batch) -> Mapping[str, Tensor]:
        if len(batch.columns["target"].values) > self.most:
            raise torch.OutOfMemoryError
        return super().forward(model, batch)


@pytest.mark.parametrize("most", [1, 2])
def test_microbatch_that_does_not_fit_is_computed_in_halves(most: int) -> None:
    whole, halved = step(), Step(step().model, LimitedMemory(most))
    split = [[3], [4, 1, 0, 2]]
    for one, other in islice(
        zip(train(whole, update_batches(split)), train(halved, update_batches(split)), strict=True), 3
    ):
        assert one.loss == pytest.approx(other.loss, rel=1e-6)
        assert one.counts == other.counts
        torch.testing.assert_close(one.norm, other.norm, rtol=1e-5, atol=0)
    for p, q in zip(whole.parameters(), halved.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-6)


class OomOnce(ThreeSums):
    """An objective that runs out of memory in one of its calls, and records the rows of all calls."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at, self.rows = at, list[int]()

    def forward(self, model: Model, batch: Batch) -> Mapping[str, Tensor]:
        self.rows.append(len(batch.columns["target"].values))
        sums = super().forward(model, batch)
        if len(self.rows) == self.at:
            raise torch.OutOfMemoryError
        return sums


@pytest.mark.promise("out-of-memory-in-microbatch")
@pytest.mark.parametrize(
    ("at", "rows"),
    [
        (1, [2, *(1, 1, 1, 1, 1), *(1, 1, 1, 1, 1)]),
        (2, [2, 2, *(2, 1, 1, 1), *(2, 1, 1, 1)]),
        (4, [2, 2, 1, 2, *(1, 1, 1, 1, 1)]),
    ],
)
def test_update_does_not_depend_on_the_microbatch_that_runs_out_of_memory(at: int, rows: list[int]) -> None:
    split = [[1, 3], [4, 0], [2]]  # 4, 8 and 5 padded tokens in each column
    whole, retried = step(), Step(step().model, OomOnce(at))
    pairs = islice(
        zip(train(whole, update_batches(split)), train(retried, update_batches(split)), strict=True), 2
    )
    for one, other in pairs:
        assert one.loss == pytest.approx(other.loss, rel=1e-6)
        torch.testing.assert_close(one.norm, other.norm, rtol=1e-5, atol=0)
        assert (one.tokens, one.then) == (other.tokens, other.then)
        assert (one.oom_retries, other.oom_retries) == (0, int(other.step == -(-at // 3)))
    for p, q in zip(whole.parameters(), retried.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-6)
    assert isinstance(retried.objective, OomOnce)
    assert retried.objective.rows == rows


def test_out_of_memory_restart_ignores_microbatches_that_cannot_be_split() -> None:
    """A single long example is larger than two short ones, but only those can be split."""
    single = Microbatch(batch([ROWS[2]]), np.array([2]))
    several = Microbatch(batch([ROWS[1], ROWS[3]]), np.array([1, 3]))
    with pytest.raises(OomRestartError) as caught, oom_as_restart("update 1", CPU, [single, several]):
        raise torch.OutOfMemoryError
    assert caught.value.padded_tokens == 8
    message = "update 1: cpu is out of memory: the model and its gradients do not fit"
    with pytest.raises(UserError, match=message), oom_as_restart("update 1", CPU, [single]):
        raise torch.OutOfMemoryError


def test_example_that_does_not_fit_into_memory_is_named() -> None:
    message = r"update 1: cpu is out of memory with a single example: example 3; make the model smaller"
    with pytest.raises(UserError, match=message):
        next(train(Step(step().model, LimitedMemory(0)), update_batches([[3], [4, 1, 0, 2]])))


def test_each_sum_of_the_loss_is_divided_once_by_its_count() -> None:
    found, expected = step(), step()
    sums = expected(batch(ROWS))
    (sums["loss"] / 15 + sums["rows"] / 5).backward()
    update = next(train(found, update_batches([[0, 1], [2], [3, 4]])))
    before = step().model.table.weight  # type: ignore[union-attr]
    weights, gradient = found.model.table.weight, expected.model.table.weight.grad  # type: ignore[union-attr]
    torch.testing.assert_close(weights, before - 0.1 * gradient, rtol=0, atol=1e-6)  # type: ignore[operator]
    torch.testing.assert_close(update.norm, gradient.norm())  # type: ignore[operator, union-attr]
    assert update.value("seen") == pytest.approx(1000 * update.loss)


def test_update_reports_sums_positions_and_health() -> None:
    stream = train(step(), update_batches(WHOLE), done=6)
    first, second = next(stream), next(stream)
    assert (first.step, second.step) == (7, 8)
    assert (first.learning_rate, second.learning_rate) == (0.7, 0.8)
    assert (first.tokens, first.padding, bool(first.skipped)) == (15, 0.25, False)
    assert first.health.tolist() == [0, float(first.norm), pytest.approx(first.loss)]
    assert (first.at, second.at) == (Position(0, 0), Position(0, 1))
    assert (first.then, second.then) == (Position(0, 1), Position(0, 2))
    assert first.seconds > 0
    assert not first.sums["loss"].requires_grad
    assert not first.norm.requires_grad
    assert second.loss < first.loss


def test_parameter_groups_may_scale_the_learning_rate() -> None:
    plain, scaled = step(), step()
    start = [p.detach().clone() for p in plain.parameters()]
    next(train(plain, update_batches(WHOLE)))
    next(train(scaled, update_batches(WHOLE), extra={"scale": 0.5}))
    for p, q, s in zip(plain.parameters(), scaled.parameters(), start, strict=True):
        torch.testing.assert_close(q - s, (p - s) / 2)


def test_clipping_bounds_the_gradient_and_reports_the_norm_before() -> None:
    free, bound = step(), step()
    start = [p.detach().clone() for p in bound.parameters()]
    norm = next(train(free, update_batches(WHOLE))).norm
    update = next(train(bound, update_batches(WHOLE), clip=0.01))
    assert update.norm == norm > 0.01
    moved = torch.stack([(p - s).norm() for p, s in zip(bound.parameters(), start, strict=True)]).norm()
    assert float(moved.detach()) == pytest.approx(0.1 * 0.01, rel=1e-3)


class NonFinite(ThreeSums):
    """An objective whose loss is not finite in some of its calls."""

    def __init__(self, bad: set[int], value: float) -> None:
        super().__init__()
        self.bad, self.value, self.calls = bad, value, 0

    def forward(self, model: Model, batch: Batch) -> Mapping[str, Tensor]:
        self.calls += 1
        sums = dict(super().forward(model, batch))
        if self.calls in self.bad:
            sums["loss"] = sums["loss"] * self.value
        return sums


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("clip", [None, 1.0])
def test_updates_that_are_not_finite_are_skipped(value: float, clip: float | None) -> None:
    broken = step()
    broken.objective = NonFinite({2, 3}, value)
    stream = train(broken, update_batches(WHOLE), clip=clip, momentum=0.9)
    next(stream)
    before = [p.detach().clone() for p in broken.parameters()]
    for number in (2, 3):
        update = next(stream)
        assert update.skipped
        assert update.step == number
        assert update.learning_rate == number / 10
        assert all(torch.equal(p, q) for p, q in zip(broken.parameters(), before, strict=True))
    assert not next(stream).skipped
    assert not any(torch.equal(p, q) for p, q in zip(broken.parameters(), before, strict=True))
    assert all(bool(p.isfinite().all()) for p in broken.parameters())


def test_loop_restores_training_mode_after_its_caller_changed_it() -> None:
    """A validation between two updates leaves the model in evaluation mode."""
    trained = step()
    for _ in islice(train(trained, update_batches(WHOLE)), 3):
        trained.eval()
    assert isinstance(trained.model, TokenTable)
    assert all(trained.model.modes)


def test_loop_ends_after_the_last_batch() -> None:
    assert len(list(train(step(), islice(update_batches(WHOLE), 4)))) == 4
