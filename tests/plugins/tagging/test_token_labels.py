"""Part-of-speech tagging, trained together with parsing."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import seqx
from seqx_models import DecoderOnly, EncoderDecoder, GeneratorEnsemble, StridedConvolution
from seqx_tagging import TaggingModel, TaggingObjective
from seqx_training import CrossEntropy, RDrop
from seqx_transformer import Learned, MultiHeadAttention, ReLU, TransformerDecoder, TransformerEncoder

SIZES = {"source": 20, "target": 9, "tags": 8}
STACK: dict[str, Any] = {
    "layers": 1,
    "attention": partial(MultiHeadAttention, heads=2),
    "feedforward": partial(ReLU, width=16),
    "dropout": 0.0,
}
INNER = partial(
    EncoderDecoder,
    d_model=8,
    encoder=partial(TransformerEncoder, **STACK),
    decoder=partial(TransformerDecoder, **STACK),
)


def tokens(*rows: list[int]) -> seqx.Column:
    width = max(map(len, rows))
    ids = torch.tensor([row + [seqx.PAD] * (width - len(row)) for row in rows])
    return seqx.Column.of(ids, torch.tensor([len(row) for row in rows]))


BATCH = seqx.Batch(
    {
        "source": tokens([4, 5, 6, 7, 2], [8, 2]),
        "target": tokens([4, 5, 2], [6, 7, 8, 2]),
        "tags": tokens([4, 0, 5, 6, 0], [7, 0]),
    },
    7,
)


def tagging(seed: int = 0, **settings: Any) -> TaggingModel:
    torch.manual_seed(seed)
    return TaggingModel(SIZES, inner=INNER, **settings)


def test_tagging_model_counts_the_positions_of_its_inner_model() -> None:
    lengths = {name: np.array([length]) for name, length in (("source", 4), ("target", 3), ("tags", 4))}
    decoder = partial(TransformerDecoder, use_source=False, positions=partial(Learned, limit=6), **STACK)
    single = partial(DecoderOnly, d_model=8, decoder=decoder)
    encoder = partial(TransformerEncoder, positions=partial(Learned, limit=5), **STACK)
    shortened = partial(INNER, source_input=StridedConvolution, encoder=encoder)
    for inner, source, used in ((INNER, 20, 4), (single, 9, 6), (shortened, seqx.Features(3), 3)):
        sizes = {**SIZES, "source": source}
        model = TaggingModel(sizes, inner=inner)
        assert model.single_sequence == (inner is single)
        assert model.limit == model.inner.limit
        assert model.positions_used(lengths).tolist() == [used]


def test_tagging_objective_sums_both_losses() -> None:
    model, objective = tagging().eval(), TaggingObjective(inner=CrossEntropy(smoothing=0.1), weight=0.5)
    assert objective.trained_on == ("loss", "tags")
    assert objective.counts(BATCH) == {"loss": 7, "nll": 7, "tags": 4}
    sums = objective(model, BATCH)
    alone = CrossEntropy(smoothing=0.1)(model.inner, BATCH)
    torch.testing.assert_close(sums["loss"], alone["loss"])
    torch.testing.assert_close(sums["nll"], alone["nll"])
    states = model.inner.encode(BATCH.columns["source"]).states
    logits = F.linear(states, model.tag.weight, model.tag.bias)
    places = torch.tensor([[0, 0], [0, 2], [0, 3], [1, 0]])
    expected = F.cross_entropy(
        logits[places[:, 0], places[:, 1]], torch.tensor([4, 5, 6, 7]), reduction="sum"
    )
    torch.testing.assert_close(sums["tags"], expected * 0.5)


def test_tagging_objective_encodes_the_source_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, objective = tagging(dropout=0.5), TaggingObjective(inner=CrossEntropy())
    read: list[Tensor] = []
    encode = model.inner.encode

    def counted(source: seqx.Column) -> seqx.State:
        read.append(source.values)
        return encode(source)

    monkeypatch.setattr(model.inner, "encode", counted)
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(60):
        optimizer.zero_grad()
        sums = objective(model, BATCH)
        torch.autograd.backward(sums["loss"] / 7 + sums["tags"] / 4)
        assert all(parameter.grad is not None for parameter in model.parameters())
        optimizer.step()
    assert len(read) == 60
    predicted = model.eval().labels(model.encode(BATCH.columns["source"]))["tags"].argmax(-1)
    assert predicted[0, [0, 2, 3]].tolist() == [4, 5, 6]
    assert predicted[1, 0] == 7


def test_tagging_with_rdrop_uses_different_dropout_in_both_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The encoder is run twice, too; the labels use its states of the first pass."""
    settings = {**INNER.keywords, "encoder": partial(TransformerEncoder, **{**STACK, "dropout": 0.3})}
    torch.manual_seed(0)
    model = TaggingModel(SIZES, inner=partial(EncoderDecoder, **settings))
    memories: list[Tensor] = []
    start = model.inner.start

    def started(memory: seqx.Memory, capacity: int | None) -> seqx.State:
        memories.append(memory.states.detach())
        return start(memory, capacity)

    monkeypatch.setattr(model.inner, "start", started)
    sums = TaggingObjective(inner=RDrop())(model, BATCH)
    assert list(sums) == ["loss", "nll", "kl", "tags"]
    assert len(memories) == 2
    assert not memories[0].equal(memories[1])
    assert float(sums["kl"]) > 0
    model.eval()
    sums = TaggingObjective(inner=RDrop())(model, BATCH)
    assert memories[2].equal(memories[3])
    assert float(sums["kl"]) == 0


def test_tagging_model_predicts_the_same_as_its_inner_model() -> None:
    model = tagging().eval()
    source, target = BATCH.columns["source"], BATCH.columns["target"]
    torch.testing.assert_close(
        model.score(seqx.Batch.of(source=source, target=target)),
        model.inner.score(seqx.Batch.of(source=source, target=target)),
    )


def test_ensemble_averages_tag_probabilities() -> None:
    models = [tagging(seed).eval() for seed in range(3)]
    source = BATCH.columns["source"]
    both = GeneratorEnsemble(models)
    each = [model.labels(model.encode(source))["tags"].exp() for model in models]
    torch.testing.assert_close(both.labels(both.encode(source))["tags"].exp(), torch.stack(each).mean(0))
    untagged = GeneratorEnsemble([models[0], models[0].inner])
    assert untagged.labels(untagged.encode(source)) == {}


def test_tagging_reports_incompatible_parts() -> None:
    with pytest.raises(ValueError, match="the task has no label column 'tags'; its columns are source"):
        TaggingModel({"source": 20, "target": 9}, inner=INNER)

    class Silent(EncoderDecoder):
        def __init__(self, vocab_sizes: Any, **settings: Any) -> None:
            super().__init__(vocab_sizes, **settings)
            self.d_model = None

    with pytest.raises(ValueError, match="does not define d_model, the width of its encoder states"):
        TaggingModel(SIZES, inner=partial(Silent, **INNER.keywords))
    with pytest.raises(
        seqx.UserError, match="the model does not predict labels 'tags' for the source tokens"
    ):
        TaggingObjective(inner=CrossEntropy())(INNER(SIZES), BATCH)
