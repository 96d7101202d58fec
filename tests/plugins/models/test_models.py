"""The encoder-decoder model and ensembles."""

from functools import partial
from typing import Any

import pytest
import torch

import seqx
from seqx_models import EncoderDecoder, GeneratorEnsemble
from seqx_transformer import Learned, MultiHeadAttention, ReLU, TransformerDecoder, TransformerEncoder

SMALL: dict[str, Any] = {"layers": 1, "attention": partial(MultiHeadAttention, heads=2)}
SIZES = {"source": 11, "target": 11}


def build(vocab_sizes: dict[str, int] = SIZES, **settings: Any) -> EncoderDecoder:
    small: dict[str, Any] = {
        "d_model": 16,
        "encoder": partial(TransformerEncoder, **SMALL),
        "decoder": partial(TransformerDecoder, **SMALL),
    }
    return EncoderDecoder(vocab_sizes, **(small | settings)).eval()


def count_parameters(
    *, d_model: int = 512, layers: int = 6, heads: int = 8, width: int = 2048, **attention: Any
) -> int:
    """Return the number of parameters of the base model with the changes of a row of table 3."""
    shared: dict[str, Any] = {
        "layers": layers,
        "attention": partial(MultiHeadAttention, heads=heads, **attention),
        "feedforward": partial(ReLU, width=width),
    }
    with torch.device("meta"):
        model = EncoderDecoder(
            {"source": 40_960, "target": 40_960},
            d_model=d_model,
            tie_embeddings="all",
            encoder=partial(TransformerEncoder, **shared),
            decoder=partial(TransformerDecoder, **shared),
        )
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("row", "millions", "paper"),
    [
        ({}, 65.1, 65),
        ({"heads": 1}, 65.1, 65),
        ({"heads": 4}, 65.1, 65),
        ({"heads": 16}, 65.1, 65),
        ({"heads": 32}, 65.1, 65),
        ({"d_k": 16}, 58.0, 58),
        ({"d_k": 32}, 60.4, 60),
        ({"layers": 2}, 35.7, 36),
        ({"layers": 4}, 50.4, 50),
        ({"layers": 8}, 79.8, 80),
        ({"d_model": 256, "d_k": 32, "d_v": 32}, 27.8, 28),
        ({"d_model": 1024, "d_k": 128, "d_v": 128}, 167.9, 168),
        ({"width": 1024}, 52.5, 53),
        ({"width": 4096}, 90.3, 90),
        ({"d_model": 1024, "heads": 16, "width": 4096}, 218.2, None),
    ],
)
def test_transformer_has_the_parameters_of_table_3(
    row: dict[str, int], millions: float, paper: int | None
) -> None:
    """Vaswani et al. 2017, table 3, with tensor2tensor's vocabulary; that of the row "big" is smaller."""
    count = count_parameters(**row) / 1e6
    assert round(count, 1) == millions
    assert paper is None or abs(count - paper) < 0.55


@pytest.mark.parametrize(("tied", "tables"), [("none", 3), ("target", 2), ("all", 1)])
def test_tied_embeddings_are_one_tensor(tied: str, tables: int) -> None:
    model = build(tie_embeddings=tied)
    found = [p for p in model.parameters() if p.shape == (11, 16)]
    assert len(found) == len({p.data_ptr() for p in found}) == tables
    assert len([name for name, w in model.state_dict().items() if w.shape == (11, 16)]) == tables
    model.head(torch.randn(1, 16)).sum().backward()  # type: ignore[no-untyped-call]
    assert (model.target.weight.grad is not None) == (tied != "none")


def test_tying_all_embeddings_needs_one_vocabulary() -> None:
    with pytest.raises(ValueError, match="theirs have 11 and 12 symbols; set tie_embeddings: target"):
        build({"source": 11, "target": 12}, tie_embeddings="all")


def test_embeddings_are_scaled_by_sqrt_d_model() -> None:
    ids = seqx.Column.of(torch.tensor([[5, 6]]), torch.tensor([2]))
    model, plain = build(tie_embeddings="all"), build(tie_embeddings="all", scale_embeddings=False)
    torch.testing.assert_close(model.encode(ids).inputs, 4 * model.target.weight[None, [5, 6]])
    torch.testing.assert_close(plain.encode(ids).inputs, plain.target.weight[None, [5, 6]])
    wide = build({"source": 3000, "target": 3000}, d_model=64)
    assert wide.target.weight.std().item() == pytest.approx(1 / 8, rel=0.02)
    assert build(embedding_std=3.0, vocab_sizes={"source": 3000, "target": 3000}).target.weight.std() > 2.9


def test_model_limit_is_the_smallest_of_encoder_and_decoder() -> None:
    encoder = partial(TransformerEncoder, positions=partial(Learned, limit=20), **SMALL)
    decoder = partial(TransformerDecoder, positions=partial(Learned, limit=30), **SMALL)
    assert build().limit is None
    assert build(decoder=decoder).limit == 30
    assert build(encoder=encoder, decoder=decoder).limit == 20


def test_ensemble_averages_probabilities() -> None:
    models = [build(), build(d_model=32)]
    ensemble = GeneratorEnsemble(models)
    source = seqx.Column.of(torch.randint(4, 11, (3, 5)), torch.tensor([5, 4, 2]))
    target = seqx.Column.of(torch.randint(4, 11, (3, 4)), torch.tensor([4, 1, 3]))
    expected = (
        torch.stack([model.score(seqx.Batch.of(source=source, target=target)).exp() for model in models])
        .mean(0)
        .log()
    )
    torch.testing.assert_close(ensemble.score(seqx.Batch.of(source=source, target=target)), expected)


def test_ensemble_needs_models_with_one_vocabulary() -> None:
    with pytest.raises(ValueError, match="same vocabularies"):
        GeneratorEnsemble([build(), build({"source": 11, "target": 12})])
    with pytest.raises(ValueError, match="same vocabularies"):
        GeneratorEnsemble([])


def test_transformer_learns_to_copy() -> None:
    """A post-norm model with the default initialisation reaches a loss near 0."""
    stacks: dict[str, Any] = {
        "encoder": partial(TransformerEncoder, dropout=0.0, **SMALL),
        "decoder": partial(TransformerDecoder, dropout=0.0, **SMALL),
    }
    model = build(d_model=32, tie_embeddings="all", **stacks).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    generator = torch.Generator().manual_seed(1)

    def loss() -> torch.Tensor:
        ids = torch.randint(4, 11, (32, 6), generator=generator)
        tokens = seqx.Column.of(ids, torch.full((32,), 6))
        return -model.score(seqx.Batch.of(source=tokens, target=tokens)).mean()

    for _ in range(180):
        optimizer.zero_grad()
        loss().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert model.eval() is model
    assert loss().item() < 0.1
