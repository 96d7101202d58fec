"""Models of any encoder and any decoder, and of any decoder with any attention, obey the laws."""

from functools import partial
from itertools import cycle, product
from typing import Any

import pytest
import torch

import seqx
import seqx.testing
import seqx_models
from seqx_convolution import ConvolutionDecoder, ConvolutionEncoder
from seqx_models import EncoderDecoder
from seqx_recurrent import GRUDecoder, GRUEncoder, LSTMDecoder, LSTMEncoder
from seqx_search import Beam
from seqx_transformer import (
    AdditiveAttention,
    GroupedQueryAttention,
    Learned,
    LinearAttention,
    MultiHeadAttention,
    MultiplicativeAttention,
    TransformerDecoder,
    TransformerEncoder,
)

CONVOLUTION: dict[str, Any] = {"layers": 2, "width": [12, 16], "positions": Learned}
ATTENTION = partial(MultiHeadAttention, heads=2)
ENCODERS: dict[str, Any] = {
    "lstm": LSTMEncoder,
    "gru": partial(GRUEncoder, bidirectional="first"),
    "transformer": partial(TransformerEncoder, layers=1, attention=ATTENTION),
    "convolution": partial(ConvolutionEncoder, **CONVOLUTION),
}
DECODERS: dict[str, Any] = {
    "lstm": partial(LSTMDecoder, attention=ATTENTION),
    "lstm_input_feeding": partial(LSTMDecoder, layers=1, attention=ATTENTION, input_feeding=True),
    "gru": partial(GRUDecoder, layers=1, attention=ATTENTION, order="bahdanau", initial="first"),
    "gru_without_attention": partial(GRUDecoder, attention=None),
    "transformer": partial(TransformerDecoder, layers=1, attention=ATTENTION),
    "convolution": partial(ConvolutionDecoder, attention=partial(MultiHeadAttention, heads=1), **CONVOLUTION),
}
ATTENTIONS: dict[str, Any] = {
    "additive": AdditiveAttention,
    "grouped_query": partial(GroupedQueryAttention, heads=4, groups=2),
    "linear": partial(LinearAttention, heads=2),
    "multiplicative": MultiplicativeAttention,
    "unscaled": partial(MultiHeadAttention, heads=1, scaled=False),
}
OTHERS = [maker for maker in vars(seqx_models).values() if maker is not EncoderDecoder]
MIXTURES = [pair for pair in product(ENCODERS, DECODERS) if pair != ("transformer", "transformer")]
# Laws about an encoder or a decoder alone, which the tests of each encoder and decoder check.
OF_EACH_PART = {
    "arguments_are_not_changed",
    "compiles",
    "every_setting_is_documented",
    "no_method_is_misspelt",
    "outputs_are_reproducible",
    "seed_determines_weights",
    "state_dict_round_trip",
    "tensors_are_on_the_device_of_the_inputs",
}
LAWS = {
    law.__name__: law
    for law in seqx.testing.laws_of(seqx.Model, EncoderDecoder)
    if law.__name__ not in OF_EACH_PART
}
PACKED = LAWS.pop("packed_weights_agree")  # depends on each part alone, but is a law of models only


def settings(encoder: str, decoder: str) -> dict[str, Any]:
    parts = {"encoder": ENCODERS[encoder], "decoder": DECODERS[decoder]}
    return {"d_model": 16, **parts, "tie_embeddings": "all"}


def mixed(**settings: Any) -> seqx.testing.Subject:
    (subject,) = seqx.testing.subjects(seqx_models, settings={EncoderDecoder: settings}, without=OTHERS)
    return subject


def test_laws_of_each_part_are_laws_of_encoders_and_decoders() -> None:
    for interface, part in ((seqx.Encoder, LSTMEncoder), (seqx.Decoder, LSTMDecoder)):
        assert {law.__name__ for law in seqx.testing.laws_of(interface, part)} >= OF_EACH_PART


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("mixture", MIXTURES, ids="-".join)
def test_mixed_encoders_and_decoders_obey_the_laws(mixture: tuple[str, str], law: str) -> None:
    LAWS[law](mixed(**settings(*mixture)))


@pytest.mark.parametrize("mixture", [*zip(cycle(ENCODERS), DECODERS)], ids="-".join)
def test_each_encoder_and_decoder_works_with_packed_weights(mixture: tuple[str, str]) -> None:
    PACKED(mixed(**settings(*mixture)))


@pytest.mark.parametrize(
    "law",
    [
        "incremental_outputs_equal_parallel_outputs",
        "padding_does_not_change_outputs",
        "every_parameter_gets_a_gradient",
    ],
)
@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("decoder", sorted(DECODERS.keys() - {"gru_without_attention"}))
def test_any_decoder_works_with_any_attention(decoder: str, attention: str, law: str) -> None:
    part = partial(DECODERS[decoder], attention=ATTENTIONS[attention])
    LAWS[law](mixed(**settings("lstm", decoder) | {"decoder": part}))


@pytest.mark.parametrize(
    ("mixture", "rate"),
    [(("lstm", "lstm"), 2e-2), (("transformer", "lstm_input_feeding"), 1e-2), (("gru", "gru"), 2e-2)],
    ids=["lstm-lstm", "transformer-lstm_input_feeding", "gru-gru"],
)
def test_beam_search_reproduces_sentences_that_a_mixed_model_memorised(
    mixture: tuple[str, str], rate: float
) -> None:
    """The other sentences of the batch do not change an answer."""
    ids = torch.randint(4, 12, (8, 5), generator=torch.Generator().manual_seed(1))
    lengths = torch.tensor([5, 4, 3, 5, 2, 4, 5, 3])
    ids[torch.arange(8), lengths - 1] = seqx.EOS
    source = seqx.Column.of(ids * (torch.arange(5) < lengths[:, None]), lengths)
    model = EncoderDecoder({"source": 12, "target": 12}, **settings(*mixture))
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    for _ in range(80):
        optimizer.zero_grad()
        (-model.score(seqx.Batch.of(source=source, target=source)).sum() / lengths.sum()).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    found = Beam(size=3)(model.eval(), source, torch.full((8,), 6))
    expected = [row[: length - 1].tolist() for row, length in zip(ids, lengths.tolist(), strict=True)]
    assert [best.ids for best, *_ in found] == expected
