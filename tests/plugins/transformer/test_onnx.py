"""Models exported to ONNX, and computed by ONNX Runtime."""

import logging
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

import seqx
from seqx.cli import main
from seqx_models import EncoderDecoder, Projection
from seqx_transformer import MultiHeadAttention, Onnx, TransformerDecoder, TransformerEncoder
from seqx_transformer.export.onnx import Session
from seqx_transformer.export.scores import seqx_scores
from tests.exported import LANGUAGE_MODEL, MARIAN, TRANSLATION, random_model, run_card
from tests.extras import skip_without
from tests.other_environment import run_with

skip_without("onnx", "onnxruntime", "onnxscript")

HEADS = "attention: {type: multihead, heads: 2}"
ENCODER = "{{type: transformer, layers: 1, attention: {{type: multihead, heads: 2}}}}"
SENTENCES = ["The cat sees the dog.", "We wait.", "A soldier waits."]


@pytest.mark.promise("onnx-scores")
@pytest.mark.slow
def test_onnx_runtime_computes_the_same_and_the_model_card_runs_without_seqx(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # pytest would format the records of each traced operation, which takes longer than tracing.
    monkeypatch.setattr(logging.getLogger("torch"), "propagate", False)
    stack = "attention: {type: grouped_query, heads: 4, groups: 2}, norm_order: pre, "
    stack += "feedforward: {type: gated, width: 20000}, "  # seqx packs such large weights
    stack += "norm: rmsnorm, positions: {type: combined, encodings: [{type: learned, limit: 80}, alibi]}"
    recipe = TRANSLATION.replace("layers: 2", "layers: 1")
    # torch traces for seconds, so only the decoder, which has both kinds of attention, has these settings.
    recipe = recipe.replace("encoder: {{type: transformer, layers: 1, {stack}}}", f"encoder: {ENCODER}")
    model = random_model(tmp_path / "model", stack, recipe=recipe)
    out = tmp_path / "out"
    result = CliRunner().invoke(main, ["export", str(tmp_path / "model"), "--to", "onnx", "--out", str(out)])
    assert result.output == f"{out}: written\n"
    session = Session(out)
    torch.manual_seed(2)
    sides = [[torch.randint(4, 400, (length,)).tolist() for length in (22, 9, 1)] for _ in range(2)]
    assert session.scores(*sides) == pytest.approx(seqx_scores(model.model, *sides), abs=1e-4)
    predictor = seqx.load(
        tmp_path / "model", device="cpu", precision="fp32", overrides=["search={type: greedy, extra: 4}"]
    )
    for text, nbest in zip(SENTENCES, predictor.hypotheses(SENTENCES), strict=True):
        source = predictor.task.read(text)["source"]
        assert session.greedy(source, len(source) + 3) == nbest[0].hypothesis.ids
    card = (out / "README.md").read_text(encoding="utf-8")
    (packages,) = re.findall(r"\$ pip install (.*)", card)
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    (tmp_path / "site").mkdir()
    assert run_with(packages.split(), code, out, tmp_path / "site").strip()


@pytest.mark.promise("cards-run")
@pytest.mark.slow
def test_code_of_the_model_card_passes_the_ids_of_the_tokenizer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("torch"), "propagate", False)
    model, out = random_model(tmp_path / "model", HEADS, recipe=MARIAN), tmp_path / "out"
    names = run_card(Onnx(), model, out)
    assert isinstance(model.task, seqx.Seq2SeqTask)
    assert names["ids"].tolist() == [model.task.read(">>fra<<This is a test.")["source"]]
    assert names["output"][1:-1] == Session(out).greedy(names["ids"][0].tolist(), 58)


def test_decoder_only_model_is_refused(tmp_path: Path) -> None:
    model = random_model(tmp_path / "model", HEADS, "tie_embeddings: true", recipe=LANGUAGE_MODEL)
    (problem,) = Onnx().problems(model)
    assert problem.startswith("model: only encoder-decoder models with a Transformer decoder")


def test_model_of_a_task_with_vectors_is_refused(tmp_path: Path) -> None:
    stack: dict[str, Any] = {"layers": 1, "attention": partial(MultiHeadAttention, heads=2)}
    network = EncoderDecoder(
        {"source": seqx.Features(3), "target": 9},
        d_model=16,
        source_input=Projection,
        encoder=partial(TransformerEncoder, **stack),
        decoder=partial(TransformerDecoder, **stack),
    )

    class Vectors:
        """A task that other programs' formats cannot express, like most tasks with vectors."""

    task: Any = Vectors()
    model = replace(random_model(tmp_path / "model"), task=task, model=network)
    (problem,) = Onnx().problems(model)
    assert problem == "task: Vectors cannot be expressed in other programs' formats"
