"""Laws of objectives, optimizers and schedules."""

import io
import math

import torch
from torch import Tensor, nn

from seqx.interfaces.learning import Objective, Optimizer, Schedule
from seqx.interfaces.tensors import Batch, Column, Layers
from seqx.testing import checks
from seqx.testing.law import Subject, law
from seqx.testing.samples import SIZES, SOURCE, TARGET, TARGET_LENGTHS
from seqx.testing.toy import Toy


def _batch(source: Column, target: Column) -> Batch:
    """Return a batch of sentence pairs."""
    return Batch({"source": source, "target": target}, int(target.layout.keep.sum()))


def _padded(tokens: Column, padding: int) -> Column:
    """Return the tokens with two more positions of padding, and with the id `padding` on all padding."""
    lengths = tokens.layout.keep.sum(1)
    wider = Column.of(nn.functional.pad(tokens.values, (0, 2)), lengths)
    return Column(wider.values.masked_fill(~wider.layout.keep, padding), wider.layout)


def _twice(tokens: Column) -> Column:
    """Return a batch that has each sentence twice."""
    return Column.of(tokens.values.repeat(2, 1), tokens.layout.keep.sum(1).repeat(2))


@law(Objective)
def padding_does_not_change_sums(subject: Subject) -> None:
    """Sums and counts depend neither on the amount of padding nor on its ids."""
    objective, model = subject.build(), Toy(SIZES)
    plain, padded = _batch(SOURCE, TARGET), _batch(SOURCE, _padded(TARGET, 7))
    counts = dict(objective.counts(plain)), dict(objective.counts(padded))
    assert counts[0] == counts[1], f"padding changes the counts from {counts[0]} to {counts[1]}"
    expected, actual = objective(model, plain), objective(model, padded)
    for name in expected:
        checks.assert_close(actual[name], expected[name])


@law(Objective)
def returns_sums_not_means(subject: Subject) -> None:
    """A batch that has each sentence twice has twice the sums and twice the counts; "loss" comes first."""
    objective, model = subject.build(), Toy(SIZES)
    once, twice = _batch(SOURCE, TARGET), _batch(_twice(SOURCE), _twice(TARGET))
    expected, actual = objective(model, once), objective(model, twice)
    assert next(iter(expected)) == "loss", f"the first sum must be called loss: {list(expected)}"
    for name, count in objective.counts(once).items():
        twice_count = objective.counts(twice)[name]
        assert twice_count == 2 * count, (
            f"{name}: the count of twice the batch is {twice_count}, not twice {count}"
        )
    for name in expected:
        checks.assert_close(actual[name], 2 * expected[name])


@law(Objective)
def better_model_has_smaller_loss(subject: Subject) -> None:
    """A model that predicts the target has a smaller loss than a random model; no loss is negative."""
    objective, batch = subject.build(), _batch(TARGET, TARGET)
    better, worse = (objective(Toy(SIZES, margin=m), batch)["loss"].detach() for m in (3.0, 0.0))
    losses = f"the loss is {float(better)} for a good model, and {float(worse)} for a random one"
    assert 0 <= float(better) < float(worse), (
        f"{losses}; it must be at least 0, and smaller for the good model"
    )


@law(Objective)
def gradient_step_reduces_the_loss(subject: Subject) -> None:
    """A small step against the gradient reduces the loss."""
    objective, model, batch = subject.build(), Toy(SIZES), _batch(SOURCE, TARGET)
    before = objective(model, batch)["loss"]
    before.backward()
    with torch.no_grad():
        for p in model.parameters():
            assert p.grad is not None, "the loss has no gradient for a parameter of the model"
            p.sub_(p.grad, alpha=1e-2 / float(TARGET_LENGTHS.sum()))
    after = float(objective(model, batch)["loss"].detach())
    assert after < float(before.detach()), (
        f"the step changes the loss from {float(before.detach())} to {after}"
    )


class _Regression(nn.Module):
    """A regression with the parts of a model: an embedding, layers, a norm and a head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(8, 4)
        self.layers: Layers[nn.Linear] = Layers([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 1)
        self.targets = torch.randn(8)

    def forward(self) -> Tensor:
        """Return the mean squared error."""
        x = self.embedding.weight
        for layer in self.layers:
            x = x + torch.tanh(layer(x))
        return (self.head(self.norm(x))[:, 0] - self.targets).square().mean()


def _train(optimizer: torch.optim.Optimizer, model: _Regression, updates: int) -> None:
    """Train a model at a learning rate of 0.01."""
    for _ in range(updates):
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * group.get("scale", 1.0)
        optimizer.zero_grad()
        model().backward()
        optimizer.step()


@law(Optimizer)
def reduces_the_loss_of_a_regression(subject: Subject) -> None:
    """50 updates reduce the loss of a small regression and change every parameter."""
    model, first = _Regression(), _Regression()
    _train(subject.build().build(model), model, 50)
    losses = float(first().detach()), float(model().detach())
    assert losses[1] < losses[0], f"50 updates change the loss from {losses[0]} to {losses[1]}"
    pairs = zip(model.named_parameters(), first.parameters(), strict=True)
    unchanged = [name for (name, p), old in pairs if p.equal(old)]
    assert not unchanged, f"parameters that the optimizer did not change: {', '.join(unchanged)}"


@law(Optimizer)
def resumes_with_the_same_updates(subject: Subject) -> None:
    """After the state is saved to a file and loaded, the updates are the same, bit by bit."""
    whole, resumed = _Regression(), _Regression()
    optimizer = subject.build().build(whole)
    _train(optimizer, whole, 3)
    resumed.load_state_dict(whole.state_dict())
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    loaded = subject.build().build(resumed)
    loaded.load_state_dict(torch.load(file, weights_only=True))
    _train(optimizer, whole, 3)
    _train(loaded, resumed, 3)
    pairs = zip(resumed.named_parameters(), whole.parameters(), strict=True)
    different = [name for (name, p), expected in pairs if not p.equal(expected)]
    assert not different, f"parameters that differ after resuming: {', '.join(different)}"


@law(Schedule)
def rates_are_positive_and_finite(subject: Subject) -> None:
    """Learning rates are positive and finite at every update, in runs of up to a million updates."""
    schedule = subject.build()
    lengths = sorted({*range(1, 200), *(round(10 ** (i / 20)) for i in range(121))})
    bad = {
        (step, steps): rate
        for steps in (1, 2, 150, 10_000, 1_000_000)
        for step in {*(length for length in lengths if length <= steps), steps}
        if not (math.isfinite(rate := schedule(step, steps)) and rate > 0)
    }
    assert not bad, f"learning rates by update and number of updates: {bad}"


@law(Schedule)
def rate_depends_on_the_step_only(subject: Subject) -> None:
    """A schedule keeps no state between calls, so a resumed run has the same learning rates."""
    schedule, fresh = subject.build(), subject.build()
    forwards = [schedule(step, 50) for step in range(1, 50)]
    backwards = [fresh(step, 50) for step in range(49, 0, -1)]
    assert backwards == forwards[::-1], "learning rates depend on earlier calls; use only `step` and `steps`"
