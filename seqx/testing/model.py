"""Laws of models, generators and ensembles."""

from collections.abc import Mapping

import torch
from torch import Tensor

from seqx.inference.packing import pack
from seqx.interfaces.networks import Ensemble, Generator, Model
from seqx.interfaces.tensors import BOS, Batch, Column, fork, rows
from seqx.runtime.precision import ComputePrecision, has_int8
from seqx.testing.checks import assert_close, assert_sentences_are_independent
from seqx.testing.law import Subject, law
from seqx.testing.network import Sample, add_network_laws
from seqx.testing.samples import SIZE, SIZES, SOURCE, SOURCE_LENGTHS, TARGET, TARGET_LENGTHS, B, T
from seqx.testing.toy import Toy

BATCH = Batch.of(source=SOURCE, target=TARGET)
INPUTS = torch.cat([torch.full((B, 1), BOS), TARGET.values[:, :-1]], 1)


def _outputs(model: Model) -> Tensor:
    """Return the logits of the target tokens and the label scores of the source tokens, in one tensor [N]."""
    logits = model.head(model(BATCH))[TARGET.layout.keep]
    labels = [labels[SOURCE.layout.keep].flatten() for labels in _labels(model, SOURCE).values()]
    return torch.cat([logits.flatten(), *labels])


def _labels(model: Model, source: Column) -> dict[str, Tensor]:
    """Return the label scores of the source tokens [B, S, L], by column."""
    if not isinstance(model, Generator) or not model.has_token_labels:
        return {}
    return dict(model.labels(model.encode(source)))


add_network_laws(
    Model, Sample(_outputs, [SIZES], (SOURCE.values, SOURCE.layout.keep, TARGET.values, TARGET.layout.keep))
)

TOLERANCES: Mapping[ComputePrecision, float] = {"fp32": 1e-4, **({"int8": 0.1} if has_int8() else {})}

INCREMENTAL = (
    "advance: with {1} tokens in each call, token {0} has other logits than with all tokens in one call, so "
    "training and decoding differ (capacity: {2}); return the state after these tokens, and continue from it"
)
PADDING = (
    "{} of a sentence differ in a padded batch from those of the sentence alone. forward or encode: use "
    "`source.layout.keep`. advance: use `keep`"
)


@law(Model)
def predicts_each_target_token(subject: Subject) -> None:
    """There are logits of the target vocabulary for each target token."""
    model, expected = subject.build(SIZES), (B, T, SIZE)
    actual = tuple(model.head(model(BATCH)).shape)
    assert actual == expected, f"head: return logits [B, T, V] = {expected}, not {actual}"


@law(Model)
def packed_weights_agree(subject: Subject) -> None:
    """Weights in the format of the CPU, and weights in int8, give nearly the same logits."""
    with torch.no_grad():
        expected = _outputs(subject.build(SIZES))
        for precision, tolerance in TOLERANCES.items():
            model = subject.build(SIZES)
            pack(model, precision, min_size=1)
            error = float((_outputs(model) - expected).norm() / expected.norm())
            assert error <= tolerance, (
                f"with packed weights ({precision}), the logits differ by {error:.1%} from those with usual "
                "weights. Pass the weight of a linear map to torch functions only, such as F.linear"
            )


@law(Generator)
def incremental_outputs_equal_parallel_outputs(subject: Subject) -> None:
    """One token or four tokens at a time give the same logits as all tokens at once."""
    model = subject.build(SIZES)
    expected = model.head(model.advance(INPUTS, model.start(model.encode(SOURCE), T), None)[0])
    for size in (1, 4):
        for capacity in (None, T):
            state = model.start(model.encode(SOURCE), capacity)
            for start in range(0, T, size):
                outputs, state = model.advance(INPUTS[:, start : start + size], state, None)
                problem = INCREMENTAL.format(start, size, capacity)
                assert_close(model.head(outputs), expected[:, start : start + size], problem)


@law(Model)
def outputs_do_not_depend_on_later_tokens(subject: Subject) -> None:
    """The logits of a target token depend neither on this token nor on later ones."""
    model, changed = subject.build(SIZES), TARGET.values.clone()
    changed[:, 3:] = 4 + (changed[:, 3:] + 1) % (SIZE - 4)
    keep = TARGET.layout.keep[:, :4]
    expected, actual = (
        model.head(model(Batch.of(source=SOURCE, target=Column(ids, TARGET.layout))))[:, :4][keep]
        for ids in (TARGET.values, changed)
    )
    assert_close(
        actual,
        expected,
        "forward: the logits of target token 3 depend on this token or on later ones. Shift the target "
        "right, so that the model reads BOS and the tokens before the predicted one, and mask later tokens",
    )


@law(Model)
def padding_does_not_change_outputs(subject: Subject) -> None:
    """A sentence gets the same scores and labels alone as in a padded batch."""
    model = subject.build(SIZES)
    batch_scores, labels = model.score(BATCH), _labels(model, SOURCE)
    assert not batch_scores[~TARGET.layout.keep].count_nonzero(), "score: padding must have the score 0"
    for i, (s, t) in enumerate(zip(SOURCE_LENGTHS.tolist(), TARGET_LENGTHS.tolist(), strict=True)):
        source = Column.of(SOURCE.values[i : i + 1, :s], torch.tensor([s]))
        target = Column.of(TARGET.values[i : i + 1, :t], torch.tensor([t]))
        scores = model.score(Batch.of(source=source, target=target))
        assert_close(scores[0], batch_scores[i, :t], PADDING.format("scores"))
        for name, single_labels in _labels(model, source).items():
            assert_close(single_labels[0], labels[name][i, :s], PADDING.format(f"labels {name!r}"))


@law(Generator)
def sentences_continue_after_padding(subject: Subject) -> None:
    """Each target of a padded batch continues after its own last token."""
    model, new = subject.build(SIZES), torch.tensor([[5, 6]]).expand(B, 2)
    _, state = model.advance(INPUTS, model.start(model.encode(SOURCE), None), TARGET.layout.keep)
    batch_logits = model.head(model.advance(new, state, None)[0])
    for i, t in enumerate(TARGET_LENGTHS.tolist()):
        start = rows(model.start(model.encode(SOURCE), None), torch.tensor([i]))
        _, state = model.advance(INPUTS[i : i + 1, :t], start, None)
        assert_close(
            model.head(model.advance(new[:1], state, None)[0])[0],
            batch_logits[i],
            f"advance: after {t} tokens and {T - t} of padding, the next tokens have other logits than "
            "without padding; pass `keep` on to the decoder, and leave padding out of the state",
        )


@law(Model)
def sentences_do_not_influence_each_other(subject: Subject) -> None:
    """In training mode, outputs of a sentence do not depend on the other sentences."""
    model = subject.build(SIZES)
    ids = torch.randint(4, SIZE, (B, T), generator=torch.Generator().manual_seed(7))

    def run(x: Tensor) -> Tensor:
        tokens = Column.of(x, torch.full((B,), T))
        return model.head(model(Batch.of(source=tokens, target=tokens)))

    assert_sentences_are_independent(model, run, ids, "forward")


@law(Generator)
def rows_of_a_state_can_be_reordered(subject: Subject) -> None:
    """Rows can be forked, selected, repeated and omitted, as in beam search."""
    model, order = subject.build(SIZES), torch.tensor([5, 0, 0])
    twice, new = torch.arange(B).repeat_interleave(2), torch.tensor([[5, 6], [7, 8], [9, 10]])
    start = rows(model.start(model.encode(SOURCE), None), twice[order])
    whole = torch.cat([INPUTS[twice[order], :3], new], 1)
    expected = model.head(model.advance(whole, start, None)[0])[:, 3:]
    state = fork(model.start(model.encode(SOURCE), None), 2)
    _, state = model.advance(INPUTS[twice, :3], state, None)
    state = rows(state, order)
    for t in range(2):
        outputs, state = model.advance(new[:, t : t + 1], state, None)
        assert_close(
            model.head(outputs),
            expected[:, t : t + 1],
            "advance: the logits are wrong after the rows of the state were forked and selected. All that "
            "differs between sentences must be in tensors of the state whose first dimension is the batch, "
            "and `select` and `fork` of a state must copy what `advance` changes in place",
        )


@law(Ensemble)
def two_equal_models_predict_like_one(subject: Subject) -> None:
    """An ensemble of a model and itself gives the scores and labels of the model, also token by token."""
    toy = Toy(SIZES)
    ensemble = subject.build([toy, toy])
    problem = "the {} of a model and itself differ from those of the model; average, do not add up"
    assert_close(ensemble.score(BATCH), toy.score(BATCH), problem.format("scores"))
    if not isinstance(ensemble, Generator):
        return
    labels = _labels(ensemble, SOURCE)["source"], _labels(toy, SOURCE)["source"]
    assert_close(*labels, problem.format("labels"))
    expected = toy.head(toy.advance(INPUTS, toy.start(toy.encode(SOURCE), T), None)[0]).log_softmax(-1)
    state = ensemble.start(ensemble.encode(SOURCE), T)
    for t in range(T):
        outputs, state = ensemble.advance(INPUTS[:, t : t + 1], state, None)
        actual = ensemble.head(outputs).log_softmax(-1)
        assert_close(actual, expected[:, t : t + 1], problem.format(f"logits of token {t}"))


@law(Ensemble)
def every_model_contributes(subject: Subject) -> None:
    """Predictions of two models differ from those of each, and do not depend on the order of the models."""
    toys = [Toy(SIZES, seed=seed) for seed in (0, 1)]
    ensemble, reversed_ensemble = subject.build(toys), subject.build(toys[::-1])
    scores, labels = ensemble.score(BATCH), _labels(ensemble, SOURCE)
    order = "the {} depend on the order of the models"
    assert_close(reversed_ensemble.score(BATCH), scores, order.format("scores"))
    differences = {"scores": min((scores - toy.score(BATCH)).abs().max() for toy in toys)}
    for name, tensor in labels.items():
        assert_close(_labels(reversed_ensemble, SOURCE)[name], tensor, order.format("labels"))
        differences["labels"] = min((tensor - _labels(toy, SOURCE)[name]).abs().max() for toy in toys)
    ignored = [name for name, difference in differences.items() if difference < 1e-3]
    assert not ignored, f"the {' and '.join(ignored)} of two models are those of one of them; average both"
