"""The paper's recipe with a small model on the generated sample, from the recipe to a score."""

import json
import shlex
from pathlib import Path

import pytest

from seqx_sample import Sample
from tests.stories.tiny import (
    TINY,
    answers,
    check_finished_run_is_unchanged,
    done,
    lines,
    move_model,
    seqx,
    tiny,
)

RECIPES = Path(__file__).parents[2] / "recipes"
SMALL: list[str] = [
    *("model.d_model=16", "task.tokenizer.size=400"),
    *("task.corpus.train=400", "task.corpus.dev=6", "task.corpus.test=6"),
    *(
        f"model.{side}.{setting}"
        for side in ("encoder", "decoder")
        for setting in ("layers=1", "attention.heads=2", "feedforward.width=32")
    ),
    *("training.steps=6", "training.tokens=300", "training.save_every=2", "training.validate_every=3"),
    *("training.precision=fp32", "search.size=2", "search.extra=4"),
]
INPUTS = ["The old man sees the house.", "", "A dog sleeps.", "   ", "She reads."]


def test_recipe_is_trained_scored_and_its_model_is_moved() -> None:
    command: list[str | Path] = ["run", RECIPES / "wmt_en_de.yaml", "--profile", "sample", *SMALL]
    result = seqx(*command)
    assert result.exit_code == 0, result.output
    output = result.stdout
    run = Path("runs/wmt_en_de-sample")
    _, _, commands = result.stderr.partition("next, for example:\n  echo ")
    text, _, commands = commands.partition(" | ")
    assert shlex.split(text)[0] in (english for english, _ in Sample().rows("test"))
    assert commands == (
        f"seqx translate {run}/model\n  seqx evaluate {run}/model --sentences answers.jsonl\n"
        f"  seqx report {run}\n"
    )
    assert {path.name for path in run.iterdir() if path.name != ".lock"} == {
        *("recipe.yaml", "environment.json", "metrics.jsonl", "log.txt", "identity.json", "origins.yaml"),
        *("checkpoints", "data.json", "model", "outputs", "task"),
    }
    assert [path.name for path in sorted((run / "checkpoints").iterdir())] == [
        "00000002",
        "00000004",
        "00000006",
    ]
    assert {path.name for path in (run / "model").iterdir()} == {
        *("model.safetensors", "recipe.yaml", "task", "scores.json", "model.json", "manifest.json"),
        "compared.json",
    }
    assert (run / "outputs" / "test.txt").read_text(encoding="utf-8").count("\n") == 6
    scores = json.loads((run / "model" / "scores.json").read_text(encoding="utf-8"))
    for split in ("dev", "test"):
        bleu = scores[split]["bleu"]
        assert bleu["signature"].startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
        assert f"{split} bleu {bleu['value']:.2f}  {bleu['signature']}\n" in output
        assert f"{split} chrf {scores[split]['chrf']['value']:.2f}" in output
    assert [row["step"] for row in lines(run, "evaluation")] == [3, 6, 6, 6]

    check_finished_run_is_unchanged(run, command, output)
    model = move_model(run)
    assert [bool(answer) for answer in answers("translate", model, INPUTS)] == [
        bool(line.strip()) for line in INPUTS
    ]
    for split in ("dev", "test"):
        output = done("evaluate", model, "--json", "--split", split, "--precision", "fp32")
        assert json.loads(output)[split] == {
            name: {"value": pytest.approx(score["value"]), "signature": score["signature"]}
            for name, score in scores[split].items()
        }


LOSSES = [
    *(6.178978094749579, 6.085792541503906, 6.084281198601974, 6.058815315978168, 6.035065346575798),
    *(5.969988787615740, 5.883875528971354, 5.891559587445175, 5.863746120505137, 5.876948796265514),
]


@pytest.mark.isa
def test_first_losses_equal_recorded_losses() -> None:
    # Small embeddings and learning rate keep rounding differences between machines small.
    done("run", tiny(), "training.steps=10", "model.embedding_std=0.1", "training.schedule.peak=1e-3")
    assert [row["loss"] for row in lines(Path("runs/tiny"), "update")] == pytest.approx(LOSSES, rel=1e-6)


def test_microbatch_size_does_not_change_losses() -> None:
    no_dropout = TINY.replace("heads: 2}}", "heads: 2}, dropout: 0.0}")
    losses = []
    for padded_tokens in (200, 2000):
        recipe = tiny(no_dropout, f"microbatch{padded_tokens}.yaml")
        done("run", recipe, f"training.microbatch={padded_tokens}")
        losses.append([row["loss"] for row in lines(Path("runs", recipe.stem), "update")])
    assert len(losses[0]) == 6
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_run_on_the_sample_resumes_when_the_hash_of_its_grammar_differs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The hash is only a key of the cache. A run compares the text itself with that of its first start."""
    command: list[str | Path] = ["run", RECIPES / "wmt_en_de.yaml", "--profile", "sample", *SMALL]
    done(*command, "training.steps=3")
    monkeypatch.setattr("seqx_sample.corpus._grammar_hash", lambda *_: "of another version")
    done(*command)
    assert [row["step"] for row in lines(Path("runs/wmt_en_de-sample"), "evaluation")][-1] == 6
