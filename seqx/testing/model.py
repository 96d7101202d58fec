"""The laws of models, and of models made of models."""

import torch
from torch import Tensor

from seqx.interfaces.networks import Ensemble, Model
from seqx.interfaces.values import BOS, Tokens, fork, rows
from seqx.testing import checks
from seqx.testing.law import Subject, law
from seqx.testing.samples import SIZE, SIZES, SOURCE, SOURCE_LENGTHS, TARGET, TARGET_LENGTHS, B, T
from seqx.testing.toy import Toy

INPUTS = torch.cat([torch.full((B, 1), BOS), TARGET.ids[:, :-1]], 1)


def _said(model: Model) -> Tensor:
    """Of the target's tokens and, where it labels them, of the source's."""
    logits = model.head(model(SOURCE, TARGET))[TARGET.layout.keep]
    labels = [labels[SOURCE.layout.keep].flatten() for labels in model.labels(model.encode(SOURCE)).values()]
    return torch.cat([logits.flatten(), *labels])


@law(Model)
def token_by_token(subject: Subject) -> None:
    """Equals all at once, and so does a stretch at a time."""
    model = subject.build(SIZES)
    whole = model.head(model.advance(INPUTS, model.start(model.encode(SOURCE), T), None)[0])
    assert whole.shape == (B, T, SIZE)
    for size in (1, 4):
        state = model.start(model.encode(SOURCE), None)
        for start in range(0, T, size):
            outputs, state = model.advance(INPUTS[:, start : start + size], state, None)
            checks.same(model.head(outputs), whole[:, start : start + size])


@law(Model)
def later_tokens_change_nothing(subject: Subject) -> None:
    """What is said about a token depends on those before it only."""
    model, changed = subject.build(SIZES), TARGET.ids.clone()
    changed[:, 3:] = 4 + (changed[:, 3:] + 1) % (SIZE - 4)
    scores = model.head(model(SOURCE, TARGET)), model.head(model(SOURCE, Tokens(changed, TARGET.layout)))
    checks.same(scores[1][:, :4][TARGET.layout.keep[:, :4]], scores[0][:, :4][TARGET.layout.keep[:, :4]])


@law(Model)
def padding_changes_nothing(subject: Subject) -> None:
    """A sentence gets the same scores alone."""
    model = subject.build(SIZES)
    together, labels = model.score(SOURCE, TARGET), model.labels(model.encode(SOURCE))
    assert not together[~TARGET.layout.keep].count_nonzero()
    for i, (s, t) in enumerate(zip(SOURCE_LENGTHS.tolist(), TARGET_LENGTHS.tolist(), strict=True)):
        source = Tokens.of(SOURCE.ids[i : i + 1, :s], torch.tensor([s]))
        target = Tokens.of(TARGET.ids[i : i + 1, :t], torch.tensor([t]))
        checks.same(model.score(source, target)[0], together[i, :t])
        for name, alone in model.labels(model.encode(source)).items():
            checks.same(alone[0], labels[name][i, :s])


@law(Model)
def rows_of_a_state_can_be_reordered(subject: Subject) -> None:
    """Picked, repeated, left out and forked: what a beam search does."""
    model, order = subject.build(SIZES), torch.tensor([5, 0, 0])
    twice = torch.arange(B).repeat_interleave(2)
    _, state = model.advance(INPUTS[:, :3], model.start(model.encode(SOURCE), None), None)
    expected = model.head(model.advance(INPUTS[:, 3:], state, None)[0])
    state = fork(model.start(model.encode(SOURCE), None), 2)
    _, state = model.advance(INPUTS[twice, :3], state, None)
    outputs, _ = model.advance(INPUTS[twice[order], 3:], rows(state, order), None)
    checks.same(model.head(outputs), expected[twice[order]])


@law(Model)
def every_parameter_gets_a_gradient(subject: Subject) -> None:
    """Nothing is kept that cannot learn."""
    checks.parameters_learn(subject.build(SIZES), _said)


@law(Model)
def state_dict_round_trip(subject: Subject) -> None:
    """The state dict is all there is to it."""
    checks.state_dict_holds_all(subject, _said, SIZES)


@law(Model)
def bfloat16_agrees(subject: Subject) -> None:
    """Autocast changes little."""
    checks.bfloat16_agrees(subject.build(SIZES), _said)


@law(Model)
def compiles(subject: Subject) -> None:
    """In one graph."""
    checks.compiles(subject.build(SIZES), _said)


def _labels(model: Model) -> Tensor:
    return model.labels(model.encode(SOURCE))["source"]


@law(Ensemble)
def equal_models_change_nothing(subject: Subject) -> None:
    """Twice the same model scores and labels like it, all at once and token by token."""
    toy = Toy(SIZES)
    both = subject.build([toy, toy])
    checks.same(both.score(SOURCE, TARGET), toy.score(SOURCE, TARGET))
    checks.same(_labels(both), _labels(toy))
    whole = toy.head(toy.advance(INPUTS, toy.start(toy.encode(SOURCE), T), None)[0]).log_softmax(-1)
    state = both.start(both.encode(SOURCE), T)
    for t in range(T):
        outputs, state = both.advance(INPUTS[:, t : t + 1], state, None)
        checks.same(both.head(outputs).log_softmax(-1), whole[:, t : t + 1])


@law(Ensemble)
def every_model_counts(subject: Subject) -> None:
    """Two models score and label unlike either, in either order."""
    toys = [Toy(SIZES, seed=seed) for seed in (0, 1)]
    both, turned = subject.build(toys), subject.build(toys[::-1])
    scores = both.score(SOURCE, TARGET)
    checks.same(turned.score(SOURCE, TARGET), scores)
    labels = _labels(both)
    checks.same(_labels(turned), labels)
    assert all((labels - _labels(toy)).abs().max() > 1e-3 for toy in toys)
    assert all((scores - toy.score(SOURCE, TARGET)).abs().max() > 1e-3 for toy in toys)
