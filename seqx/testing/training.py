"""Laws of objectives, optimizers, schedules and callbacks."""

import io
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from seqx.errors import PluginError, UserError
from seqx.interfaces.learning import Callback, Objective, Optimizer, Schedule
from seqx.interfaces.tensors import Batch, Column, Layers
from seqx.plugin.hooks import check_events
from seqx.testing.checks import assert_close
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


def _sentence(tokens: Column, index: int) -> Column:
    """Return a batch of one sentence without padding."""
    length = int(tokens.layout.keep[index].sum())
    return Column.of(tokens.values[index : index + 1, :length], torch.tensor([length]))


@law(Objective)
def names_of_sums_and_counts_agree(subject: Subject) -> None:
    """Each sum has a count; one of them is called "loss", and all of `trained_on` are among them."""
    objective, batch = subject.build(), _batch(SOURCE, TARGET)
    counts, sums = objective.counts(batch), objective(Toy(SIZES), batch)
    assert set(sums) == set(counts), (
        f"forward returns the sums {sorted(sums)}, but counts has {sorted(counts)}; return a count for each "
        "sum"
    )
    assert {"loss", *objective.trained_on} <= set(sums), (
        f'forward must return "loss" and the sums of trained_on, {objective.trained_on}; it returns '
        f"{sorted(sums)}"
    )
    shapes = {name: list(value.shape) for name, value in sums.items() if value.dim()}
    assert not shapes, f"forward: each sum must be a scalar tensor; the shapes are {shapes}"


@law(Objective)
def padding_does_not_change_sums(subject: Subject) -> None:
    """Sums and counts depend neither on the amount of padding nor on its ids."""
    objective, model = subject.build(), Toy(SIZES)
    plain, padded = _batch(SOURCE, TARGET), _batch(SOURCE, _padded(TARGET, 7))
    before, after = dict(objective.counts(plain)), dict(objective.counts(padded))
    assert before == after, (
        f"counts: more padding changes the counts from {before} to {after}; count the tokens of the layout"
    )
    expected, actual = objective(model, plain), objective(model, padded)
    for name in expected:
        assert_close(
            actual[name],
            expected[name],
            f"forward: the sum {name!r} depends on padding; sum where `layout.keep` is true",
        )


@law(Objective)
def sums_add_up_over_microbatches(subject: Subject) -> None:
    """The sums and counts of a batch are those of its sentences, added up."""
    objective, model = subject.build(), Toy(SIZES)
    whole = _batch(SOURCE, TARGET)
    singles = [
        _batch(*(_sentence(tokens, i) for tokens in (SOURCE, TARGET))) for i in range(len(TARGET_LENGTHS))
    ]
    for name, count in objective.counts(whole).items():
        total = sum(objective.counts(single)[name] for single in singles)
        assert count == total, (
            f"counts: {name!r} is {count} for a batch, but {total} for its sentences together; return a "
            "number that adds up, such as the number of target tokens"
        )
    expected, parts = objective(model, whole), [objective(model, single) for single in singles]
    for name, value in expected.items():
        assert_close(
            torch.stack([part[name] for part in parts]).sum(),
            value,
            f"forward: the sum {name!r} of a batch is not that of its sentences, added up, so the loss "
            "depends on the division into microbatches. Return sums, not means: the training loop divides "
            "them once by `counts`, over the whole update",
        )


@law(Objective)
def better_model_has_smaller_loss(subject: Subject) -> None:
    """A model that predicts the target has a smaller loss than one that guesses; no loss is negative."""
    objective, batch = subject.build(), _batch(TARGET, TARGET)
    better, worse = (float(objective(Toy(SIZES, margin=m), batch)["loss"].detach()) for m in (3.0, 0.0))
    assert 0 <= better < worse, (
        f"forward: the loss is {better:.4g} for a model that predicts the target and {worse:.4g} for one "
        "that guesses; it must be at least 0 and smaller for the better model. Check the sign, and that the "
        "logits at a position are compared with the target at the same position"
    )


@law(Objective)
def gradient_step_reduces_the_loss(subject: Subject) -> None:
    """A small step against the gradient reduces the loss."""
    objective, model, batch = subject.build(), Toy(SIZES), _batch(SOURCE, TARGET)
    before = objective(model, batch)["loss"]
    before.backward()
    with torch.no_grad():
        for name, p in model.named_parameters():
            assert p.grad is not None, (
                f"forward: the loss gives the parameter {name} no gradient; do not detach"
            )
            p.sub_(p.grad, alpha=1e-2 / float(TARGET_LENGTHS.sum()))
    after = float(objective(model, batch)["loss"].detach())
    assert after < float(before.detach()), (
        f"forward: a small step against the gradient changes the loss from {float(before.detach()):.6g} to "
        f"{after:.6g}; the gradient is not that of the loss. Check the sign, and `backward` of a "
        "custom autograd function"
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


def _train(optimizer: torch.optim.Optimizer, model: _Regression, updates: int, rate: float = 0.01) -> None:
    """Train a model at a constant learning rate."""
    for _ in range(updates):
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("scale", 1.0)
        optimizer.zero_grad()
        model().backward()
        optimizer.step()


def _joined_names(pairs_differ: bool, model: nn.Module, other: nn.Module) -> str:
    """Return the names of the parameters that differ between two models, or of those that are equal."""
    pairs = zip(model.named_parameters(), other.parameters(), strict=True)
    return ", ".join(name for (name, p), expected in pairs if p.equal(expected) != pairs_differ)


@law(Optimizer)
def reduces_the_loss_of_a_regression(subject: Subject) -> None:
    """50 updates reduce the loss of a small regression and change every parameter."""
    model, first = _Regression(), _Regression()
    _train(subject.build().build(model), model, 50)
    before, after = float(first().detach()), float(model().detach())
    assert after < before, (
        f"step: 50 updates change the loss from {before:.4g} to {after:.4g}; check the sign"
    )
    unchanged = _joined_names(False, model, first)
    assert not unchanged, (
        f"build: the optimizer does not change {unchanged}; pass it all parameters of the module"
    )


@law(Optimizer)
def learning_rate_zero_changes_nothing(subject: Subject) -> None:
    """Updates at a learning rate of 0 leave all parameters as they are."""
    model, first = _Regression(), _Regression()
    _train(subject.build().build(model), model, 3, rate=0.0)
    changed = _joined_names(True, model, first)
    assert not changed, (
        f"step: at a learning rate of 0 the optimizer changes {changed}, so the schedule has no effect on "
        'it; multiply each change by `group["lr"]`, also weight decay, and read it in `step`, not in the '
        "constructor"
    )


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
    different = _joined_names(True, resumed, whole)
    assert not different, (
        f"state_dict: after the state is saved and loaded, the next updates of {different} differ. Keep all "
        "that changes in `self.state[parameter]` or in `param_groups`, not in attributes of the optimizer"
    )


@law(Optimizer)
def check_refuses_what_build_refuses(subject: Subject) -> None:
    """`check` raises an error for the modules for which `build` does, such as one without layers."""
    others = (nn.Sequential(module, nn.LayerNorm(4)) for module in (nn.Linear(4, 4), nn.LayerNorm(4)))
    for module in (_Regression(), *others):
        checked, built = (
            _is_accepted(method, module) for method in (subject.build().check, subject.build().build)
        )
        assert checked == built, (
            f"check: it {_verb(checked)} a module of type {type(module).__name__}, which `build` "
            f"{_verb(built)}; raise a UserError in both or in none"
        )


def _is_accepted(method: Callable[[nn.Module], object], module: nn.Module) -> bool:
    """Return true if a method raises no UserError for a module."""
    try:
        method(module)
    except UserError:
        return False
    return True


def _verb(accepted: bool) -> str:
    return "accepts" if accepted else "refuses"


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
    assert not bad, (
        f"learning rates must be positive and finite, but (update, number of updates): rate is {bad}; "
        "updates are counted from 1, and the last one needs a rate above 0, too"
    )


@law(Schedule)
def rate_depends_on_the_step_only(subject: Subject) -> None:
    """A schedule keeps no state between calls, so a resumed run has the same learning rates."""
    schedule, fresh = subject.build(), subject.build()
    forwards = {step: schedule(step, 50) for step in range(1, 50)}
    different = [step for step in range(49, 0, -1) if fresh(step, 50) != forwards[step]]
    assert not different, (
        f"the learning rates of {len(different)} of 49 updates depend on the order of the calls, so a "
        "resumed run has other ones; compute the rate from `step` and `steps` alone, and change no attribute"
    )


@law(Callback)
def marked_methods_are_events(subject: Subject) -> None:
    """Each method that is marked `@seqx.hookimpl` is an event, and each event is marked."""
    try:
        check_events(subject.build())
    except PluginError as error:
        raise AssertionError(str(error)) from None
