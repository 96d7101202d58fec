"""The laws of objectives, optimizers and schedules."""

import math

import torch
from torch import Tensor, nn

from seqx.interfaces.learning import Objective, Optimizer, Schedule
from seqx.interfaces.values import Batch, Tokens
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


@law(Optimizer)
def makes_a_loss_smaller(subject: Subject) -> None:
    """On a bowl, at a learning rate of 0.01; every parameter moves."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 1))
    first = [p.detach().clone() for p in model.parameters()]
    optimizer = subject.build().build(model.named_parameters())
    x = torch.randn(32, 4)

    def loss() -> Tensor:
        return (model(x)[:, 0] - x[:, 0]).square().mean()

    before = float(loss().detach())
    for _ in range(50):
        for group in optimizer.param_groups:
            group["lr"] = 0.01
        optimizer.zero_grad()
        loss().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert float(loss().detach()) < before
    still = [name for (name, p), old in zip(model.named_parameters(), first, strict=True) if p.equal(old)]
    assert not still, f"parameters that never moved: {', '.join(still)}"


@law(Schedule)
def rates_are_positive_and_finite(subject: Subject) -> None:
    """At every update from the first to the millionth."""
    schedule = subject.build()
    steps = sorted({*range(1, 200), *(round(10 ** (i / 20)) for i in range(121))})
    bad = {step: rate for step in steps if not (math.isfinite(rate := schedule(step)) and rate > 0)}
    assert not bad, f"learning rates by update: {bad}"


@law(Schedule)
def a_step_has_one_rate(subject: Subject) -> None:
    """Whatever was asked before: a resumed run goes on as if it had not stopped."""
    schedule, fresh = subject.build(), subject.build()
    forwards = [schedule(step) for step in range(1, 50)]
    assert [fresh(step) for step in range(49, 0, -1)] == forwards[::-1]
