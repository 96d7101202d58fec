"""Laws of models and ensembles."""

import torch
from torch import Tensor

from seqx.interfaces.networks import Ensemble, Model
from seqx.interfaces.tensors import BOS, Column, fork, rows
from seqx.testing import checks
from seqx.testing.law import Subject, law
from seqx.testing.samples import SIZE, SIZES, SOURCE, SOURCE_LENGTHS, TARGET, TARGET_LENGTHS, B, T
from seqx.testing.toy import Toy

INPUTS = torch.cat([torch.full((B, 1), BOS), TARGET.values[:, :-1]], 1)


def _outputs(model: Model) -> Tensor:
    """Return the logits of the target tokens and the label scores of the source tokens, in one tensor [N]."""
    logits = model.head(model(SOURCE, TARGET))[TARGET.layout.keep]
    labels = [labels[SOURCE.layout.keep].flatten() for labels in model.labels(model.encode(SOURCE)).values()]
    return torch.cat([logits.flatten(), *labels])


@law(Model)
def incremental_outputs_equal_parallel_outputs(subject: Subject) -> None:
    """One token or four tokens at a time give the same logits as all tokens at once."""
    model = subject.build(SIZES)
    expected = model.head(model.advance(INPUTS, model.start(model.encode(SOURCE), T), None)[0])
    shape = (B, T, SIZE)
    assert expected.shape == shape, f"logits have the shape {tuple(expected.shape)}, not [B, T, V]: {shape}"
    for size in (1, 4):
        state = model.start(model.encode(SOURCE), None)
        for start in range(0, T, size):
            outputs, state = model.advance(INPUTS[:, start : start + size], state, None)
            checks.assert_close(model.head(outputs), expected[:, start : start + size])


@law(Model)
def outputs_do_not_depend_on_later_tokens(subject: Subject) -> None:
    """The logits of a target token do not depend on later target tokens."""
    model, changed = subject.build(SIZES), TARGET.values.clone()
    changed[:, 3:] = 4 + (changed[:, 3:] + 1) % (SIZE - 4)
    scores = model.head(model(SOURCE, TARGET)), model.head(model(SOURCE, Column(changed, TARGET.layout)))
    checks.assert_close(
        scores[1][:, :4][TARGET.layout.keep[:, :4]], scores[0][:, :4][TARGET.layout.keep[:, :4]]
    )


@law(Model)
def padding_does_not_change_outputs(subject: Subject) -> None:
    """A sentence gets the same scores and labels alone as in a padded batch."""
    model = subject.build(SIZES)
    batch_scores, labels = model.score(SOURCE, TARGET), model.labels(model.encode(SOURCE))
    assert not batch_scores[~TARGET.layout.keep].count_nonzero(), "`score` is not 0 on padding"
    for i, (s, t) in enumerate(zip(SOURCE_LENGTHS.tolist(), TARGET_LENGTHS.tolist(), strict=True)):
        source = Column.of(SOURCE.values[i : i + 1, :s], torch.tensor([s]))
        target = Column.of(TARGET.values[i : i + 1, :t], torch.tensor([t]))
        checks.assert_close(model.score(source, target)[0], batch_scores[i, :t])
        for name, single_labels in model.labels(model.encode(source)).items():
            checks.assert_close(single_labels[0], labels[name][i, :s])


@law(Model)
def rows_of_a_state_can_be_reordered(subject: Subject) -> None:
    """Rows can be forked, selected, repeated and omitted, as in beam search."""
    model, order = subject.build(SIZES), torch.tensor([5, 0, 0])
    twice = torch.arange(B).repeat_interleave(2)
    _, state = model.advance(INPUTS[:, :3], model.start(model.encode(SOURCE), None), None)
    expected = model.head(model.advance(INPUTS[:, 3:], state, None)[0])
    state = fork(model.start(model.encode(SOURCE), None), 2)
    _, state = model.advance(INPUTS[twice, :3], state, None)
    outputs, _ = model.advance(INPUTS[twice[order], 3:], rows(state, order), None)
    checks.assert_close(model.head(outputs), expected[twice[order]])


@law(Model)
def every_parameter_gets_a_gradient(subject: Subject) -> None:
    """Each trained parameter gets a gradient that is not all zeros."""
    checks.check_gradients(subject.build(SIZES), _outputs)


@law(Model)
def state_dict_round_trip(subject: Subject) -> None:
    """The state dict determines the outputs."""
    checks.check_state_dict(subject, _outputs, SIZES)


@law(Model)
def bfloat16_agrees(subject: Subject) -> None:
    """Outputs under bfloat16 autocast are close to those in float32."""
    checks.check_bfloat16(subject.build(SIZES), _outputs)


@law(Model)
def compiles(subject: Subject) -> None:
    """The component compiles to one graph and gives the same outputs."""
    checks.check_compilation(subject.build(SIZES), _outputs)


def _labels(model: Model) -> Tensor:
    """Return the label scores of the source tokens [B, S, L]."""
    return model.labels(model.encode(SOURCE))["source"]


@law(Ensemble)
def two_equal_models_predict_like_one(subject: Subject) -> None:
    """An ensemble of a model and itself gives the scores and labels of the model, also token by token."""
    toy = Toy(SIZES)
    ensemble = subject.build([toy, toy])
    checks.assert_close(ensemble.score(SOURCE, TARGET), toy.score(SOURCE, TARGET))
    checks.assert_close(_labels(ensemble), _labels(toy))
    expected = toy.head(toy.advance(INPUTS, toy.start(toy.encode(SOURCE), T), None)[0]).log_softmax(-1)
    state = ensemble.start(ensemble.encode(SOURCE), T)
    for t in range(T):
        outputs, state = ensemble.advance(INPUTS[:, t : t + 1], state, None)
        checks.assert_close(ensemble.head(outputs).log_softmax(-1), expected[:, t : t + 1])


@law(Ensemble)
def every_model_contributes(subject: Subject) -> None:
    """An ensemble of two models predicts like neither of them; their order makes no difference."""
    toys = [Toy(SIZES, seed=seed) for seed in (0, 1)]
    ensemble, reversed_ensemble = subject.build(toys), subject.build(toys[::-1])
    scores = ensemble.score(SOURCE, TARGET)
    checks.assert_close(reversed_ensemble.score(SOURCE, TARGET), scores)
    labels = _labels(ensemble)
    checks.assert_close(_labels(reversed_ensemble), labels)
    assert all((labels - _labels(toy)).abs().max() > 1e-3 for toy in toys), "labels are those of one model"
    differences = [(scores - toy.score(SOURCE, TARGET)).abs().max() for toy in toys]
    assert min(differences) > 1e-3, "scores are those of one model; average the probabilities of all models"
