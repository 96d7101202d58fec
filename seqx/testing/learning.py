"""The laws of objectives, optimizers and schedules."""

import io
import math

import torch
from torch import Tensor, nn

from seqx.interfaces.learning import Objective, Optimizer, Schedule
from seqx.interfaces.values import Batch, Layers, Tokens
from seqx.testing import checks
from seqx.testing.law import Subject, law
from seqx.testing.samples import SIZES, SOURCE, TARGET, TARGET_LENGTHS
from seqx.testing.toy import Toy


def _batch(source: Tokens, target: Tokens) -> Batch:
    return Batch({"source": source, "target": target}, int(target.layout.keep.sum()))


def _padded(tokens: Tokens, padding: int) -> Tokens:
    """With two more places of padding, and `padding` as the id on all of it."""
    lengths = tokens.layout.keep.sum(1)
    wider = Tokens.of(nn.functional.pad(tokens.ids, (0, 2)), lengths)
    return Tokens(wider.ids.masked_fill(~wider.layout.keep, padding), wider.layout)


def _twice(tokens: Tokens) -> Tokens:
    return Tokens.of(tokens.ids.repeat(2, 1), tokens.layout.keep.sum(1).repeat(2))


@law(Objective)
def padding_contributes_nothing(subject: Subject) -> None:
    """Neither to a sum nor to what it is divided by, whatever stands there."""
    objective, model = subject.build(), Toy(SIZES)
    plain, padded = _batch(SOURCE, TARGET), _batch(SOURCE, _padded(TARGET, 7))
    assert dict(objective.counts(plain)) == dict(objective.counts(padded))
    expected, actual = objective(model, plain), objective(model, padded)
    for name in expected:
        checks.same(actual[name], expected[name])


@law(Objective)
def sums_not_means(subject: Subject) -> None:
    """A batch that holds everything twice has twice the sums and twice the counts."""
    objective, model = subject.build(), Toy(SIZES)
    once, twice = _batch(SOURCE, TARGET), _batch(_twice(SOURCE), _twice(TARGET))
    expected, actual = objective(model, once), objective(model, twice)
    assert next(iter(expected)) == "loss"
    for name, count in objective.counts(once).items():
        assert objective.counts(twice)[name] == 2 * count
    for name in expected:
        checks.same(actual[name], 2 * expected[name])


@law(Objective)
def right_answers_cost_less(subject: Subject) -> None:
    """A model that knows the target has a smaller loss than one that does not."""
    objective, batch = subject.build(), _batch(TARGET, TARGET)
    knows, guesses = (objective(Toy(SIZES, sure=sure), batch)["loss"].detach() for sure in (3.0, 0.0))
    assert 0 <= float(knows) < float(guesses)


@law(Objective)
def the_loss_teaches(subject: Subject) -> None:
    """Its gradient points downhill."""
    objective, model, batch = subject.build(), Toy(SIZES), _batch(SOURCE, TARGET)
    before = objective(model, batch)["loss"]
    before.backward()
    with torch.no_grad():
        for p in model.parameters():
            assert p.grad is not None
            p.sub_(p.grad, alpha=1e-2 / float(TARGET_LENGTHS.sum()))
    assert float(objective(model, batch)["loss"].detach()) < float(before.detach())


class _Regression(nn.Module):
    """What a model has: an embedding, layers, a norm and a head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(8, 4)
        self.layers: Layers[nn.Linear] = Layers([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 1)
        self.wanted = torch.randn(8)

    def forward(self) -> Tensor:
        """The mean square of what is missing."""
        x = self.embedding.weight
        for layer in self.layers:
            x = x + torch.tanh(layer(x))
        return (self.head(self.norm(x))[:, 0] - self.wanted).square().mean()


def _trained(optimizer: torch.optim.Optimizer, model: _Regression, updates: int) -> None:
    for _ in range(updates):
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * group.get("scale", 1.0)
        optimizer.zero_grad()
        model().backward()
        optimizer.step()


@law(Optimizer)
def makes_a_loss_smaller(subject: Subject) -> None:
    """Of a small regression, at a learning rate of 0.01; every parameter moves."""
    model, first = _Regression(), _Regression()
    _trained(subject.build().build(model), model, 50)
    assert float(model().detach()) < float(first().detach())
    pairs = zip(model.named_parameters(), first.parameters(), strict=True)
    still = [name for (name, p), old in pairs if p.equal(old)]
    assert not still, f"parameters that never moved: {', '.join(still)}"


@law(Optimizer)
def goes_on_where_it_was_saved(subject: Subject) -> None:
    """After a round trip through a file the updates are the same, bit by bit."""
    whole, resumed = _Regression(), _Regression()
    straight = subject.build().build(whole)
    _trained(straight, whole, 3)
    resumed.load_state_dict(whole.state_dict())
    file = io.BytesIO()
    torch.save(straight.state_dict(), file)
    file.seek(0)
    again = subject.build().build(resumed)
    again.load_state_dict(torch.load(file, weights_only=True))
    _trained(straight, whole, 3)
    _trained(again, resumed, 3)
    pairs = zip(resumed.named_parameters(), whole.parameters(), strict=True)
    other = [name for (name, p), expected in pairs if not p.equal(expected)]
    assert not other, f"parameters that went another way: {', '.join(other)}"


@law(Schedule)
def rates_are_positive_and_finite(subject: Subject) -> None:
    """At every update from the first to the last, of a run of any length up to a million."""
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
def a_step_has_one_rate(subject: Subject) -> None:
    """Whatever was asked before: a resumed run goes on as if it had not stopped."""
    schedule, fresh = subject.build(), subject.build()
    forwards = [schedule(step, 50) for step in range(1, 50)]
    assert [fresh(step, 50) for step in range(49, 0, -1)] == forwards[::-1]
