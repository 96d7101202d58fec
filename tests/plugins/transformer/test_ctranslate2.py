"""Models exported to CTranslate2, which computes the same scores, and searches that it computes."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from torch import nn

import seqx
from seqx.cli import main
from seqx_transformer import CTranslate2, CTranslate2Engine, MultiHeadAttention
from seqx_transformer.export.ctranslate2 import ctranslate2_scores
from seqx_transformer.export.scores import seqx_scores
from tests.exported import LANGUAGE_MODEL, MARIAN, TRANSLATION, random_model, run_card
from tests.models import write_model
from tests.other_environment import run_with

package = pytest.importorskip("ctranslate2")

HEADS = "attention: {type: multihead, heads: 2}"
STACKS = {
    "post-norm": HEADS,
    "pre-norm": f"{HEADS}, norm_order: pre",
    "gelu": f"{HEADS}, feedforward: gelu",
    "swiglu": f"{HEADS}, feedforward: gated",
    "geglu": f"{HEADS}, feedforward: {{type: gated, activation: gelu, bias: true}}",
    "convolutions": f"{HEADS}, feedforward: convolutions",
    "learned": f"{HEADS}, positions: {{type: learned, limit: 40}}",
    "no-positions": f"{HEADS}, positions: none",
    "rotary": f"{HEADS}, positions: {{type: rotary, base: 500}}",
    "rms-pre-norm": f"{HEADS}, norm: {{type: rmsnorm, eps: 1e-2}}, norm_order: pre",
    "rms-post-norm": f"{HEADS}, norm: rmsnorm",
    "layernorm-eps": f"{HEADS}, norm: {{type: layernorm, eps: 1e-2}}",
    "biases": "attention: {type: multihead, heads: 2, bias: true}",
    "unscaled": "attention: {type: multihead, heads: 2, scaled: false, bias: true}",
    "widths": "attention: {type: multihead, heads: 2, d_k: 6, d_v: 6}",
    "multi-query": "attention: {type: grouped_query, heads: 4}",
    "grouped-query": "attention: {type: grouped_query, heads: 4, groups: 2, bias: true}, positions: rotary",
}
SENTENCES = [
    "The cat sees the dog.",
    "We wait.",
    "",
    "A soldier put a letter behind the old box, but nobody saw it.",
]


def scores(model: seqx.TrainedModel, folder: Path) -> tuple[list[float], list[float]]:
    """Return the log-probabilities of random targets, by seqx and by CTranslate2."""
    torch.manual_seed(2)
    sides = [[torch.randint(4, 400, (length,)).tolist() for length in (22, 9, 1)] for _ in range(2)]
    text, single = seqx.describe(model.task), model.model.single_sequence
    return (
        seqx_scores(model.model, *sides),
        ctranslate2_scores(folder, text, *sides, single=single),
    )


@pytest.mark.promise("ctranslate2-scores")
@pytest.mark.parametrize("recipe", [TRANSLATION, LANGUAGE_MODEL], ids=["encoder-decoder", "decoder-only"])
@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
def test_ctranslate2_computes_the_same_scores(
    recipe: str, stack: str, vocabulary: Path, tmp_path: Path
) -> None:
    settings = "tie_embeddings: true" if recipe is LANGUAGE_MODEL else "tie_embeddings: target"
    model = random_model(tmp_path / "model", stack, settings, recipe=recipe, vocabulary=vocabulary)
    assert list(CTranslate2().problems(model)) == []
    out = tmp_path / "out"
    out.mkdir()
    CTranslate2().write(model, out)
    ours, theirs = scores(model, out)
    assert theirs == pytest.approx(ours, abs=1e-4)
    assert min(ours) < -50


@pytest.mark.promise("ctranslate2-scores")
@pytest.mark.parametrize(
    "settings",
    [
        f"tie_embeddings: {tied}, scale_embeddings: {scaled}"
        for tied, scaled in (("none", "false"), ("all", "true"))
    ],
)
def test_ctranslate2_computes_the_same_scores_with(settings: str, vocabulary: Path, tmp_path: Path) -> None:
    model = random_model(tmp_path / "model", HEADS, settings.replace(", ", "\n  "), vocabulary=vocabulary)
    out = tmp_path / "out"
    out.mkdir()
    CTranslate2().write(model, out)
    ours, theirs = scores(model, out)
    assert theirs == pytest.approx(ours, abs=1e-4)


UNSUPPORTED = {
    f"{HEADS}, positions: alibi": "model.encoder.positions: Alibi cannot be expressed",
    f"{HEADS}, residual_scale: 2": "model.encoder.residual_scale: CTranslate2 has no factor",
    "attention: {type: linear, heads: 2}": "model.encoder.attention: LinearAttention cannot be expressed",
    "attention: [{type: multihead, heads: 2}, {type: multihead, heads: 4}]": (
        "model.encoder.attention: CTranslate2 has one number"
    ),
    "attention: {type: multihead, heads: 2, d_v: 4}": "model.encoder.attention.d_v: CTranslate2",
    "attention: {type: multihead, heads: 2, d_k: 7, d_v: 7}, positions: rotary": (
        "model.encoder.attention.d_k: CTranslate2 rotates"
    ),
}


@pytest.mark.parametrize(("stack", "problem"), UNSUPPORTED.items())
def test_unsupported_setting_is_named(stack: str, problem: str, vocabulary: Path, tmp_path: Path) -> None:
    model = random_model(tmp_path / "model", stack, vocabulary=vocabulary)
    problems = list(CTranslate2().problems(model))
    assert any(each.startswith(problem) for each in problems), problems


class Doubled(MultiHeadAttention):
    """An attention that describes itself wrongly."""

    def forward(self, *args: object) -> torch.Tensor:
        return 2 * super().forward(*args)  # type: ignore[arg-type]

    def specification(self) -> seqx.AttentionSpec:
        return super().specification()


class Renamed(MultiHeadAttention):
    """An attention that does not describe itself."""


def become(model: seqx.TrainedModel, kind: type[MultiHeadAttention]) -> None:
    """Change the class of the attentions of a model."""
    for module in model.model.modules():
        if isinstance(module, MultiHeadAttention):
            module.__class__ = kind


def test_subclass_of_an_attention_must_describe_itself(vocabulary: Path, tmp_path: Path) -> None:
    model = random_model(tmp_path / "model", vocabulary=vocabulary)
    become(model, Renamed)
    (problem,) = CTranslate2().problems(model)
    assert problem.startswith("model.encoder.attention: Renamed cannot be expressed")


def test_wrong_specification_is_found_before_the_export_is_complete(vocabulary: Path, tmp_path: Path) -> None:
    model = random_model(tmp_path / "model", vocabulary=vocabulary)
    become(model, Doubled)
    with pytest.raises(seqx.PluginError, match="describes itself wrongly"):
        CTranslate2().write(model, tmp_path / "model")


def test_missing_package_is_named_with_the_command_that_installs_it(
    vocabulary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = random_model(tmp_path / "model", vocabulary=vocabulary)
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    with pytest.raises(seqx.UserError, match=r"pip install -c constraints.txt (-e )?'.\[ctranslate2\]'"):
        list(CTranslate2().problems(model))


@pytest.mark.promise("engine-hypotheses")
@pytest.mark.parametrize(
    "search", ["size=3,alpha=0", "size=1,alpha=0", "size=4,alpha=0.6,nbest=2", "size=3,alpha=0,nbest=3"]
)
@pytest.mark.parametrize("recipe", [TRANSLATION, LANGUAGE_MODEL], ids=["encoder-decoder", "decoder-only"])
def test_engine_finds_the_hypotheses_of_the_search(
    recipe: str, search: str, vocabulary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEQX_CACHE", str(tmp_path / "cache"))
    settings = "tie_embeddings: true" if recipe is LANGUAGE_MODEL else "tie_embeddings: none"
    stack = f"{HEADS}, norm_order: pre, positions: {{type: learned, limit: 80}}"  # such outputs end
    random_model(tmp_path / "model", stack, settings, recipe=recipe, vocabulary=vocabulary)
    overrides = [f"search.{setting}" for setting in search.split(",")]
    ours, theirs = (
        seqx.load(tmp_path / "model", device="cpu", precision="fp32", overrides=overrides, engine=engine)
        for engine in (None, CTranslate2Engine())
    )
    answered_by_seqx = 0

    def count(search: seqx.Search, model: seqx.Generator, source: seqx.Column, *rest: Any) -> Any:
        nonlocal answered_by_seqx
        answered_by_seqx += len(source.values)
        return original(search, model, source, *rest)

    original = type(ours.search).__call__
    first = list(ours.hypotheses(SENTENCES))
    monkeypatch.setattr(type(ours.search), "__call__", count)
    second = list(theirs.hypotheses(SENTENCES))
    assert answered_by_seqx < len(SENTENCES) - 1
    for one, other in zip(first, second, strict=True):
        assert [text for text, _ in other] == [text for text, _ in one]
        assert [h.score for _, h in other] == pytest.approx([h.score for _, h in one], abs=1e-4)
        assert [h.logprob for _, h in other] == pytest.approx([h.logprob for _, h in one], abs=1e-4)
    texts = [
        [[text for text, _ in nbest] for nbest in predictor.with_answers(2).hypotheses(SENTENCES)]
        for predictor in (ours, theirs)
    ]
    assert texts[0] == texts[1]


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.promise("cards-run")
@pytest.mark.slow
@pytest.mark.parametrize("recipe", [TRANSLATION, LANGUAGE_MODEL], ids=["encoder-decoder", "decoder-only"])
def test_code_of_the_model_card_runs_without_seqx(recipe: str, tmp_path: Path) -> None:
    settings = "tie_embeddings: true" if recipe is LANGUAGE_MODEL else "tie_embeddings: none"
    random_model(tmp_path / "model", HEADS, settings, recipe=recipe)
    result = call("export", tmp_path / "model", "--to", "ctranslate2", "--out", tmp_path / "out")
    assert result.output == f"{tmp_path / 'out'}: written\n"
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    (packages,) = re.findall(r"\$ pip install (.*)", card)
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    site = tmp_path / "site"
    site.mkdir()
    output = run_with(packages.split(), code, tmp_path / "out", site)
    assert len(code.splitlines()) <= 12
    assert output.count("\n") >= 1
    assert output.strip()


@pytest.mark.promise("cards-run")
def test_code_of_the_model_card_passes_the_language_as_one_symbol(tmp_path: Path) -> None:
    model = random_model(tmp_path / "model", HEADS, recipe=MARIAN)
    names = run_card(CTranslate2(), model, tmp_path / "out")
    text = seqx.describe(model.task)
    ids = [text.source.symbols.index(symbol) for symbol in names["tokens"][0]]
    assert isinstance(model.task, seqx.Seq2SeqTask)
    assert [*ids, seqx.EOS] == model.task.read(">>fra<<This is a test.")["source"]


def test_int8_export_is_smaller(vocabulary: Path, tmp_path: Path) -> None:
    random_model(
        tmp_path / "model", f"{HEADS}, feedforward: {{type: relu, width: 20000}}", vocabulary=vocabulary
    )
    for name, target in (("fp32", "ctranslate2"), ("int8", "{type: ctranslate2, quantization: int8}")):
        assert call("export", tmp_path / "model", "--to", target, "--out", tmp_path / name).exit_code == 0
    sizes = [(tmp_path / name / "model.bin").stat().st_size for name in ("fp32", "int8")]
    assert sizes[1] < 0.5 * sizes[0]


def test_engine_converts_a_model_once(
    vocabulary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEQX_CACHE", str(tmp_path / "cache"))
    for seed in ("one", "two"):
        random_model(tmp_path / seed, vocabulary=vocabulary)
    model = tmp_path / "one"
    for _ in range(2):
        seqx.load(model, device="cpu", engine=CTranslate2Engine(compute="int8"))
    assert len([*(tmp_path / "cache/engines").glob("[!.]*")]) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search={type: sampling}"], "search: CTranslate2 does not have Sampling"),
        (
            ["search.processors=[{type: no_repeat_ngram, size: 3}]"],
            "search.processors: CTranslate2 does not have them",
        ),
        (["--device", "cuda"], "cuda"),
        (["--compute", "int7"], "engine.compute: Input should be 'float32', 'int8'"),
    ],
)
def test_engine_names_what_it_cannot_do(
    arguments: list[str], message: str, vocabulary: Path, tmp_path: Path
) -> None:
    random_model(tmp_path / "model", vocabulary=vocabulary)
    result = call("translate", tmp_path / "model", "--engine", "ctranslate2", *arguments)
    assert result.exit_code == 2
    assert message in result.output


def test_evaluate_names_the_engine_and_its_number_format(
    vocabulary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEQX_CACHE", str(tmp_path / "cache"))
    random_model(tmp_path / "model", vocabulary=vocabulary)
    result = call("evaluate", tmp_path / "model", "--engine", "ctranslate2", "--compute", "int8")
    assert result.exit_code == 0, result.output
    assert "answers are computed by ctranslate2 in int8" in result.stderr
    assert result.stdout.startswith("bleu ")


def test_compute_without_engine_is_an_error(vocabulary: Path, tmp_path: Path) -> None:
    random_model(tmp_path / "model", vocabulary=vocabulary)
    result = call("translate", tmp_path / "model", "--compute", "int8")
    assert result.exit_code == 2
    assert "--compute int8 is for an engine" in result.output


def test_engine_answers_inputs_with_constraints(
    vocabulary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEQX_CACHE", str(tmp_path / "cache"))
    random_model(tmp_path / "model", vocabulary=vocabulary)
    predictor = seqx.load(tmp_path / "model", device="cpu", engine=CTranslate2Engine())
    (answer,) = predictor([seqx.Request(input="We wait.", prefix="Wir")])
    assert answer.startswith("Wir")


LONG = "A soldier put a letter behind the old box, but nobody saw it. " * 2


def never_end(model: nn.Module) -> None:
    """Change the embeddings so that EOS is never among the most probable symbols."""
    for module in model.modules():
        if isinstance(module, seqx.ScaledEmbedding):
            module.weight[seqx.EOS] = 0


@pytest.mark.parametrize(
    ("recipe", "model"),
    [
        (LANGUAGE_MODEL, "tie_embeddings: true"),  # the second prompt has room for fewer tokens
        (TRANSLATION.replace("{stack}", "positions: sinusoidal", 1), "tie_embeddings: target"),
    ],
    ids=["decoder-only", "encoder-decoder"],
)
def test_engine_leaves_inputs_without_enough_positions_to_seqx(
    recipe: str, model: str, vocabulary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEQX_CACHE", str(tmp_path / "cache"))
    for module in ("ctranslate2", "engine"):
        monkeypatch.setattr(f"seqx_transformer.export.{module}.MAX_POSITIONS", 24)
    text = recipe.format(stack="positions: {type: learned, limit: 40}", model=model)
    text = text.replace("max_length: 24", "max_length: 30")
    write_model(tmp_path / "model", text=text, vocabulary=vocabulary, change=never_end)
    overrides = ["search.ratio=0", "search.extra=17"]
    ours, theirs = (
        seqx.load(tmp_path / "model", device="cpu", precision="fp32", overrides=overrides, engine=engine)
        for engine in (None, CTranslate2Engine())
    )
    assert theirs(["We wait.", LONG]) == ours(["We wait.", LONG])
    assert theirs([LONG]) == ours([LONG])
