"""The checks of exporters, engines and importers, with models that they can convert."""

from pathlib import Path

import pytest

from seqx.testing import check_engine, check_export, check_import
from seqx_transformer import CTranslate2, CTranslate2Engine, FromHuggingFace, HuggingFace
from tests.exported import TRANSLATION, random_model
from tests.marian import write_marian

HEADS = "attention: {type: multihead, heads: 2}"
INPUTS = ["The cat sees the dog.", "We wait."]


@pytest.mark.slow
def test_ctranslate2_obeys_the_checks_of_exporters_and_engines(vocabulary: Path, tmp_path: Path) -> None:
    pytest.importorskip("ctranslate2")
    stack = f"{HEADS}, norm_order: pre, positions: {{type: learned, limit: 80}}"  # such outputs end
    random_model(tmp_path / "model", stack, "tie_embeddings: none", vocabulary=vocabulary)
    check_export(CTranslate2(), tmp_path / "model")
    check_engine(CTranslate2Engine(), tmp_path / "model", INPUTS)


@pytest.mark.slow
@pytest.mark.usefixtures("few_positions")
def test_huggingface_obeys_the_checks_of_exporters(vocabulary: Path, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    # transformers has a fixed maximum length, which the outputs of a random model reach.
    recipe = TRANSLATION.replace("extra: 4", "ratio: 0, extra: 8")
    random_model(tmp_path / "model", HEADS, recipe=recipe, vocabulary=vocabulary)
    check_export(HuggingFace(), tmp_path / "model")


@pytest.mark.slow
def test_import_from_huggingface_obeys_the_checks_of_importers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    source = write_marian(tmp_path / "hub", encoder_layers=1, decoder_layers=1)
    model = transformers.MarianMTModel.from_pretrained(source).eval()
    tokenizer = transformers.MarianTokenizer.from_pretrained(source)
    outputs = [model.generate(**tokenizer(text, return_tensors="pt"))[0].tolist() for text in INPUTS]
    answers = [tokenizer.decode(output[1:-1], skip_special_tokens=True) for output in outputs]
    check_import(FromHuggingFace(), source, dict(zip(INPUTS, answers, strict=True)))
