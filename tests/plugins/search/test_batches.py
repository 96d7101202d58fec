"""Searches with a Transformer of random weights: hypotheses do not depend on the batch."""

import pytest
import torch

import seqx
from seqx_models import EncoderDecoder, GeneratorEnsemble
from seqx_search import Beam, Greedy, Sampling
from seqx_transformer import TransformerDecoder, TransformerEncoder
from tests.plugins.search.toy import logprob, sources

V = 120
SENTENCES = [
    torch.randint(4, V, (length,), generator=torch.Generator().manual_seed(length)).tolist()
    for length in (3, 29, 1, 12, 7, 22, 12, 5)
]


def transformer(seed: int) -> seqx.Generator:
    """Return a random Transformer. Its sentences have different lengths, and no distribution is flat."""
    torch.manual_seed(seed)
    model = EncoderDecoder(
        {"source": V, "target": V},
        d_model=64,
        encoder=lambda d: TransformerEncoder(d, layers=2),
        decoder=lambda d: TransformerDecoder(d, layers=2),
        embedding_std=0.4,
    )
    assert model.projection is not None
    model.projection.weight.data[seqx.EOS] *= 2
    return model.eval()


@pytest.mark.parametrize(
    "search",
    [
        Beam(size=4, nbest=4, extra=20),
        Beam(size=5, alpha=0.0, extra=20),
        Greedy(extra=20),
        Sampling(seed=3, extra=20),
    ],
    ids=str,
)
def test_other_sentences_of_the_batch_change_no_hypothesis(search: seqx.Search) -> None:
    model = transformer(1).double()  # in single precision, batches of other sizes are rounded differently
    mixed = search(model, sources(*SENTENCES), search.max_lengths(torch.tensor([len(s) for s in SENTENCES])))
    for sentence, together in zip(SENTENCES, mixed, strict=True):
        (alone,) = search(model, sources(sentence), search.max_lengths(torch.tensor([len(sentence)])))
        for one, other in zip(alone, together, strict=True):
            assert other.score == pytest.approx(one.score, rel=1e-6, abs=1e-5)
            assert other.ids == one.ids
    # The sentences left the batch at different steps.
    assert len({len(hypotheses[0].ids) for hypotheses in mixed}) > 3


@pytest.mark.parametrize("search", [Beam(size=4, nbest=4), Greedy()], ids=str)
def test_hypotheses_have_the_logprob_of_forced_decoding(search: seqx.Search) -> None:
    model = transformer(2)
    found = search(model, sources(*SENTENCES), torch.full((len(SENTENCES),), 25))
    with torch.no_grad():
        for sentence, hypotheses in zip(SENTENCES, found, strict=True):
            for hypothesis in hypotheses:
                expected = logprob(model, sentence, hypothesis.ids)
                assert hypothesis.logprob == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_ensemble_of_equal_models_decodes_like_one() -> None:
    model, beam = transformer(1), Beam(size=3)
    limits = torch.full((len(SENTENCES),), 20)
    one = beam(model, sources(*SENTENCES), limits)
    several = beam(GeneratorEnsemble([model, model]), sources(*SENTENCES), limits)
    assert [h[0].ids for h in one] == [h[0].ids for h in several]
    assert [h[0].score for h in one] == pytest.approx([h[0].score for h in several], abs=1e-5)
    other = beam(GeneratorEnsemble([model, transformer(2)]), sources(*SENTENCES), limits)
    assert [h[0].ids for h in other] != [h[0].ids for h in one]
