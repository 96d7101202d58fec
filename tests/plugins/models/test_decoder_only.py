"""The decoder-only model."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import seqx
from seqx_convolution import ConvolutionDecoder
from seqx_models import DecoderOnly, EncoderDecoder, GeneratorEnsemble
from seqx_parsing import GuidedEncoderDecoder
from seqx_recurrent import LSTMDecoder
from seqx_search import Greedy
from seqx_transformer import Learned, MultiHeadAttention, Rotary, TransformerDecoder, TransformerEncoder

SMALL: dict[str, Any] = {"layers": 2, "attention": partial(MultiHeadAttention, heads=2), "dropout": 0.0}
SIZES = {"source": 11, "target": 11}


def build(*, positions: Any = Rotary, **settings: Any) -> DecoderOnly:
    decoder = partial(TransformerDecoder, use_source=False, positions=positions, **SMALL)
    torch.manual_seed(0)
    return DecoderOnly(SIZES, **{"d_model": 16, "decoder": decoder, "embedding_std": 0.7, **settings}).eval()


def tokens(*rows: list[int]) -> seqx.Column:
    longest = max(map(len, rows))
    padded = [row + [seqx.PAD] * (longest - len(row)) for row in rows]
    return seqx.Column.of(torch.tensor(padded), torch.tensor([len(row) for row in rows]))


def logprobs(model: DecoderOnly, sequence: list[int]) -> Tensor:
    """Return the decoder's log-probabilities [T, V] after each token of one sequence."""
    inputs = model.embedding.weight[sequence][None] * 4  # sqrt(d_model)
    outputs, _ = model.decoder(inputs, model.decoder.start(None, 1, None), None)
    return model.head(outputs)[0].log_softmax(-1)


@torch.no_grad()
@pytest.mark.parametrize("tied", [True, False])
def test_decoder_only_target_continues_the_source(tied: bool) -> None:
    model = build(tie_embeddings=tied)
    sources = [[5, 6, 7, seqx.EOS], [seqx.BOS], [seqx.BOS, 9]]
    targets = [[8, 4, seqx.EOS], [4, seqx.EOS], [10, 9, 4, seqx.EOS]]
    scores = model.score(seqx.Batch.of(source=tokens(*sources), target=tokens(*targets)))
    for row, source, target in zip(scores, sources, targets, strict=True):
        found = logprobs(model, source + target)
        for t, token in enumerate(target):
            torch.testing.assert_close(row[t], found[len(source) - 1 + t, token])


@torch.no_grad()
def test_decoder_only_search_continues_a_prompt() -> None:
    model = build()
    sources = [[seqx.BOS, 5, 6], [seqx.BOS]]
    found = Greedy()(model, tokens(*sources), torch.tensor([4, 4]))
    for source, (hypothesis,) in zip(sources, found, strict=True):
        sequence = list(source)
        while len(sequence) < len(source) + 4:
            token = int(logprobs(model, sequence)[-1, seqx.EOS :].argmax()) + seqx.EOS
            if token == seqx.EOS:
                break
            sequence.append(token)
        assert hypothesis.ids == sequence[len(source) :]


def test_decoder_only_needs_one_vocabulary() -> None:
    with pytest.raises(ValueError, match="one vocabulary for source and target, but theirs have 11 and 12"):
        DecoderOnly({"source": 11, "target": 12}, decoder=partial(TransformerDecoder, use_source=False))


def test_decoder_only_tied_embedding_is_one_parameter() -> None:
    untied, tied = (sum(p.numel() for p in build(tie_embeddings=tie).parameters()) for tie in (False, True))
    assert untied - tied == 11 * 16


def test_decoder_only_limit_counts_source_and_target_together() -> None:
    model = build(positions=partial(Learned, limit=6))
    lengths = {"source": np.array([4]), "target": np.array([3])}
    assert (model.limit, model.single_sequence, model.positions_used(lengths).tolist()) == (6, True, [6])
    model.score(seqx.Batch.of(source=tokens([4, 5, 6, 7]), target=tokens([4, 5, 2])))
    with pytest.raises(IndexError):
        model.score(seqx.Batch.of(source=tokens([4, 5, 6, 7]), target=tokens([4, 5, 5, 2])))
    stacks: dict[str, Any] = {
        "encoder": partial(TransformerEncoder, **SMALL),
        "decoder": partial(TransformerDecoder, **SMALL),
    }
    other = EncoderDecoder(SIZES, d_model=16, **stacks)
    assert not other.single_sequence
    assert other.positions_used(lengths).tolist() == [4]
    assert GeneratorEnsemble([model, other]).single_sequence
    assert not GeneratorEnsemble([other]).single_sequence


def test_decoder_only_learns_to_repeat_the_source() -> None:
    """The model can use the source, although it has no encoder."""
    model = build().train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    generator = torch.Generator().manual_seed(0)
    lengths = torch.full((32,), 3)
    for _ in range(150):
        words = torch.randint(4, 11, (32, 2), generator=generator)
        sentences = seqx.Column.of(nn.functional.pad(words, (0, 1), value=seqx.EOS), lengths)
        loss = -model.score(seqx.Batch.of(source=sentences, target=sentences)).mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    assert loss < 0.1


@pytest.mark.parametrize(
    "decoder",
    [TransformerDecoder, LSTMDecoder, partial(ConvolutionDecoder, layers=1)],
    ids=["transformer", "lstm", "convolution"],
)
def test_decoder_only_refuses_a_decoder_that_uses_a_source(decoder: Any) -> None:
    attention = {} if decoder is TransformerDecoder else {"attention": MultiHeadAttention}
    with pytest.raises(ValueError, match="uses a source, but this model has none"):
        DecoderOnly(SIZES, d_model=16, decoder=partial(decoder, **attention))


@pytest.mark.parametrize("model", [EncoderDecoder, partial(GuidedEncoderDecoder, column="target")])
@pytest.mark.parametrize(
    "decoder",
    [
        partial(TransformerDecoder, use_source=False),
        partial(LSTMDecoder, attention=None, initial=None),
        partial(ConvolutionDecoder, layers=1, attention=None),
    ],
    ids=["transformer", "lstm", "convolution"],
)
def test_encoder_decoder_refuses_a_decoder_without_source(model: Any, decoder: Any) -> None:
    with pytest.raises(ValueError, match="does not use the source"):
        model(SIZES, d_model=16, encoder=TransformerEncoder, decoder=decoder)


@torch.no_grad()
def test_decoder_only_slot_is_filled_before_the_first_step() -> None:
    model = build()
    slots = model.slots(model.encode(tokens([9], [9])), 2, 1, None)
    slots.release([0])
    slots.fill([0], model.encode(tokens([4, 5, 2])))
    logits = slots.step(torch.tensor([seqx.BOS, seqx.BOS]))
    for source, actual in zip(([4, 5, 2], [9]), logits, strict=True):
        single = model.slots(model.encode(tokens(source)), 1, 1, None)
        torch.testing.assert_close(actual, single.step(torch.tensor([seqx.BOS]))[0])
