"""Models exported to Hugging Face's format, and loaded by transformers."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

import seqx
from seqx.cli import main
from seqx_transformer import HuggingFace
from seqx_transformer.export.huggingface import _notes_on_search, huggingface_scores
from seqx_transformer.export.scores import seqx_scores
from tests.exported import LANGUAGE_MODEL, TRANSLATION, random_model
from tests.extras import skip_without
from tests.other_environment import run_with

skip_without("transformers")

HEADS = "attention: {type: multihead, heads: 2}"
CASES = {
    "tied": (HEADS, "tie_embeddings: all"),
    "target-tied": (HEADS, "tie_embeddings: target"),
    "untied": (HEADS, "tie_embeddings: none\n  scale_embeddings: false"),
    "pre-norm": (f"{HEADS}, norm_order: pre", "tie_embeddings: all"),
    "gelu-biases": (
        "attention: {type: multihead, heads: 2, bias: true}, feedforward: gelu",
        "tie_embeddings: all",
    ),
    "grouped-query": (
        "attention: {type: grouped_query, heads: 4, groups: 2, bias: true}",
        "tie_embeddings: all",
    ),
    "packed-weights": (f"{HEADS}, feedforward: {{type: relu, width: 20000}}", "tie_embeddings: all"),
    "unscaled": ("attention: {type: multihead, heads: 2, scaled: false}", "tie_embeddings: all"),
}
SENTENCES = [
    "The cat sees the dog.",
    "We wait.",
    "  Two  spaces, ünïcode and 日本 ",
    "A soldier put a letter there.",
]


def exported(model: seqx.TrainedModel, folder: Path) -> Path:
    assert list(HuggingFace().problems(model)) == []
    folder.mkdir()
    HuggingFace().write(model, folder)
    return folder


@pytest.mark.promise("transformers-scores")
@pytest.mark.slow
@pytest.mark.usefixtures("few_positions")
@pytest.mark.parametrize(("stack", "settings"), CASES.values(), ids=CASES)
def test_transformers_computes_the_same_scores(
    stack: str, settings: str, vocabulary: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForSeq2SeqLM

    model = random_model(tmp_path / "model", stack, settings, vocabulary=vocabulary)
    out = exported(model, tmp_path / "out")
    torch.manual_seed(2)
    sides = [[torch.randint(4, 400, (length,)).tolist() for length in (22, 9, 1)] for _ in range(2)]
    assert huggingface_scores(out, *sides) == pytest.approx(seqx_scores(model.model, *sides), abs=1e-4)
    _, found = AutoModelForSeq2SeqLM.from_pretrained(out, output_loading_info=True)
    assert not any(found.values()), found  # otherwise transformers prints a warning about them


@pytest.mark.promise("transformers-scores")
@pytest.mark.slow
@pytest.mark.usefixtures("few_positions")
def test_transformers_computes_the_same_logits_and_beams(vocabulary: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    model = random_model(tmp_path / "model", vocabulary=vocabulary)
    out = exported(model, tmp_path / "out")
    theirs = AutoModelForSeq2SeqLM.from_pretrained(out)
    tokenizer = AutoTokenizer.from_pretrained(out)
    predictor = seqx.load(tmp_path / "model", device="cpu", precision="fp32")
    inputs = tokenizer(SENTENCES, return_tensors="pt", padding=True)
    rows = [
        row[: mask.sum()].tolist()
        for row, mask in zip(inputs["input_ids"], inputs["attention_mask"], strict=True)
    ]
    assert rows == [predictor.task.read(text)["source"] for text in SENTENCES]
    assert [tokenizer.decode(row, skip_special_tokens=True) for row in rows] == [
        text.strip() for text in SENTENCES
    ]
    for row, nbest in zip(rows, predictor.hypotheses(SENTENCES), strict=True):
        limit = len(row) - 1 + 4
        with torch.no_grad():
            (ids,) = theirs.generate(torch.tensor([row]), max_new_tokens=limit + 1).tolist()
        assert ids == [seqx.BOS, *nbest[0].hypothesis.ids, seqx.EOS]
    source = seqx.Column.of(torch.tensor([rows[0]]), torch.tensor([len(rows[0])]))
    target = seqx.Column.of(torch.tensor([rows[3]]), torch.tensor([len(rows[3])]))
    with torch.no_grad():
        ours = model.model.head(model.model(seqx.Batch.of(source=source, target=target)))
        shifted = torch.tensor([[seqx.BOS, *rows[3][:-1]]])
        logits = theirs(input_ids=source.values, decoder_input_ids=shifted).logits
    torch.testing.assert_close(logits, ours, atol=1e-4, rtol=0)


UNSUPPORTED = {
    (f"{HEADS}, norm: rmsnorm", "tie_embeddings: all"): "model.encoder.norm: Marian",
    (
        f"{HEADS}, norm: {{type: layernorm, eps: 1e-3}}",
        "tie_embeddings: all",
    ): "model.encoder.norm.eps: Marian",
    (f"{HEADS}, feedforward: gated", "tie_embeddings: all"): "model.encoder.feedforward: Marian has no gate",
    (f"{HEADS}, positions: rotary", "tie_embeddings: all"): "model.encoder.positions: Marian has sinusoidal",
    (f"{HEADS}, norm_order: pre", "tie_embeddings: target"): "model.tie_embeddings: Pegasus",
    (f"{HEADS}, residual_scale: 2", "tie_embeddings: all"): "model.encoder.residual_scale: Marian",
    (
        "attention: {type: multihead, heads: 2, d_k: 6, d_v: 6}",
        "tie_embeddings: all",
    ): "model.encoder.attention: Marian",
}


@pytest.mark.parametrize(("case", "problem"), UNSUPPORTED.items())
def test_unsupported_setting_is_named(
    case: tuple[str, str], problem: str, vocabulary: Path, tmp_path: Path
) -> None:
    model = random_model(tmp_path / "model", *case, vocabulary=vocabulary)
    problems = list(HuggingFace().problems(model))
    assert any(each.startswith(problem) for each in problems), problems


def test_decoder_only_model_is_refused(vocabulary: Path, tmp_path: Path) -> None:
    model = random_model(
        tmp_path / "model", HEADS, "tie_embeddings: true", recipe=LANGUAGE_MODEL, vocabulary=vocabulary
    )
    assert list(HuggingFace().problems(model)) == [
        "model.type: only encoder-decoder models can be exported to this format"
    ]


@pytest.mark.promise("cards-run")
@pytest.mark.slow
def test_code_of_the_model_card_runs_without_seqx(tmp_path: Path) -> None:
    recipe = TRANSLATION.replace(
        "  metrics:", "  target_tokenizer: {{type: sentencepiece, size: 350}}\n  metrics:"
    )
    random_model(tmp_path / "model", HEADS, "tie_embeddings: target", recipe=recipe)
    arguments = ["export", tmp_path / "model", "--to", "huggingface", "--out", tmp_path / "out"]
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    (packages,) = re.findall(r"\$ pip install (.*)", card)
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    (tmp_path / "site").mkdir()
    output = run_with(packages.split(), code, tmp_path / "out", tmp_path / "site")
    assert len(code.splitlines()) <= 10
    assert output.strip()
    settings: dict[str, Any] = json.loads(
        (tmp_path / "out/generation_config.json").read_text(encoding="utf-8")
    )
    assert settings["num_beams"] == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("search", "note", "beams"),
    [
        (
            "{type: sampling}",
            "has greedy search, because it cannot express the search of the recipe, Sampling",
            1,
        ),
        ("{type: diverse_beam, size: 4, groups: 2}", "the search of the recipe, DiverseBeam", 1),
        (
            "{type: greedy, processors: [{type: min_length, length: 3}]}",
            "has no score processors; the recipe has some",
            1,
        ),
        ("{type: normalized_beam, size: 3, forced_eos: true}", None, 3),
    ],
)
def test_model_card_names_the_search_that_is_not_exported(
    search: str, note: str | None, beams: int, vocabulary: Path, tmp_path: Path
) -> None:
    escaped = search.replace("{", "{{").replace("}", "}}")
    recipe = re.sub(r"search: .*", f"search: {escaped}", TRANSLATION)
    random_model(tmp_path / "model", recipe=recipe, vocabulary=vocabulary)
    out = tmp_path / "out"
    command = ["export", str(tmp_path / "model"), "--to", "huggingface", "--out", str(out)]
    result = CliRunner().invoke(main, command)
    assert result.output == f"{out}: written\n"
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "`generation_config.json`" not in card if note is None else note in card
    assert json.loads((out / "generation_config.json").read_text(encoding="utf-8"))["num_beams"] == beams


def test_search_that_the_recipe_only_names_needs_no_note(vocabulary: Path, tmp_path: Path) -> None:
    recipe = re.sub(r"search: .*", "search: greedy", TRANSLATION)
    model = random_model(tmp_path / "model", recipe=recipe, vocabulary=vocabulary)
    assert model.recipe["search"] == "greedy"
    assert not [*_notes_on_search(model)]
