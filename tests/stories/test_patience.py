"""Early stopping: the score that counts, and runs that are resumed with more patience."""

import math
from pathlib import Path

import pytest
import torch

from tests.models import PARSING, RECIPE
from tests.stories.scripted import read_strict_json, scripted
from tests.stories.tiny import TINY, done, lines, refused, seqx, tiny, weights

RUN = Path("runs/tiny")
ALMOST_NO_LEARNING = "training.schedule.peak=1e-12"  # nothing is learned, and perplexity does not change
EVERY = ("training.steps=6", "training.validate_every=1", "training.save_every=1")


def last_update(run: Path = RUN) -> int:
    return int(lines(run, "update")[-1]["step"])


@pytest.mark.parametrize(
    ("values", "settings", "updates"),
    [
        ([0], ["training.patience=2"], 6),  # perplexity falls
        ([0], ["training.patience=2", ALMOST_NO_LEARNING], 3),
        (["nan", 1, "nan", "nan"], ["training.patience=2"], 4),
        ([1, 2, 3, 4, 5, 6], ["training.patience={validations: 2, by: perplexity}", ALMOST_NO_LEARNING], 3),
        ([1, 2, 3, 4, 5, 6], ["training.patience={validations: 2, by: chrf}", ALMOST_NO_LEARNING], 3),
        ([3, 2, 1, 0, 0, 0], ["training.patience={validations: 2, by: scripted}"], 3),
    ],
)
def test_patience_counts_validations_without_a_better_score(
    values: list[float], settings: list[str], updates: int
) -> None:
    result = seqx("run", scripted(*values), *EVERY, *settings)
    assert result.exit_code == 0, result.output
    assert last_update() == updates
    assert ("stopped after" in result.stderr) == (updates < 6)


def test_patience_with_a_score_that_is_better_if_lower() -> None:
    done("run", scripted(3, math.inf, math.inf, lower_is_better=True), *EVERY, "training.patience=2")
    assert last_update() == 3


def test_patience_ends_if_perplexity_stays_infinite() -> None:
    settings = ("training.schedule.peak=100", "training.schedule.warmup=1", "training.clip=null")
    by = "training.patience={validations: 2, by: perplexity}"
    result = seqx("run", tiny(TINY), *EVERY, *settings, by)
    assert result.exit_code == 0, result.output
    assert {row["perplexity"] for row in lines(RUN, "evaluation") if row["split"] == "dev"} == {"Infinity"}
    assert "stopped after 3 of 6 updates: 2 validations without a better perplexity\n" in result.stderr
    for file in RUN.rglob("*.json"):
        read_strict_json(file)


def test_run_with_nan_scores_is_resumed() -> None:
    settings = ("training.schedule.peak=100", "training.schedule.warmup=1")
    done("run", tiny(TINY), *settings, "training.steps=4")
    printed = done("run", tiny(TINY), *settings, "training.steps=6")
    assert "test bleu 0.00" in printed
    assert "| inf " in done("compare", RUN)
    scored = [row["perplexity"] for row in lines(RUN, "evaluation") if row["split"] == "dev"]
    assert scored == ["Infinity"] * len(scored)
    assert len(scored) > 2


def test_run_resumed_with_more_patience_equals_one_that_always_had_it() -> None:
    settings = (*EVERY, ALMOST_NO_LEARNING)
    done("run", scripted(5, 5, 5, 5, 5), *settings, "training.patience=4", "--folder", "whole")
    assert last_update(Path("whole")) == 5
    recipe = scripted(5, 5, 5, 5, 5)
    first = done("run", recipe, *settings, "training.patience=2")
    assert last_update() == 3
    # The same patience or less changes nothing.
    for patience in ("2", "1", "{validations: 2}"):
        again = done("run", recipe, *settings, f"training.patience={patience}")
        assert again == f"{RUN}: this run is finished; its scores:\n{first}"
    assert "not finished" not in done("compare", RUN)

    result = seqx("run", recipe, *settings, "training.patience=4")
    assert result.exit_code == 0, result.output
    assert "resumed from update 3" in result.stderr
    assert "stopped after 5 of 6 updates: 4 validations without a better score\n" in result.stderr
    one, other = (weights(folder / "checkpoints" / "00000005") for folder in (RUN, Path("whole")))
    assert all(torch.equal(one[name], tensor) for name, tensor in other.items())

    # With another score, counting starts again; without patience, the run continues to its last update.
    done("run", recipe, *settings, "training.patience={validations: 1, by: perplexity}")
    assert last_update() == 6
    assert "this run is finished" in done("run", recipe, *settings, "training.patience=null")


def test_run_resumed_without_patience_continues_to_its_last_update() -> None:
    recipe = scripted(5)
    done("run", recipe, *EVERY, "training.patience=1")
    assert last_update() == 2
    # A resumed run is not finished: the scores of the model folder no longer count.
    text = Path(RUN, "recipe.yaml").read_text("utf-8")
    Path(RUN, "recipe.yaml").write_text(text.replace("patience: 1", "patience: null"), "utf-8")
    assert "tiny: not finished" in done("compare", RUN)
    done("run", recipe, *EVERY, "training.patience=null")
    assert last_update() == 6


@pytest.mark.parametrize(
    ("section", "place", "name", "known"),
    [
        ("select: {by: ruoge}", "training.select.by", "ruoge", "bleu, chrf"),
        ("patience: {validations: 2, by: bleu4}", "training.patience.by", "bleu4", "bleu, chrf"),
    ],
)
def test_unknown_score_is_reported_with_line_and_column(
    section: str, place: str, name: str, known: str
) -> None:
    recipe = tiny(TINY.replace("  average: 2", f"  average: 2\n  {section}"))
    line = recipe.read_text("utf-8").splitlines().index(f"  {section}") + 1
    column = f"  {section}".index(name) + 1
    for command in (("check", recipe), ("run", recipe)):
        assert refused(*command).startswith(
            f"tiny.yaml:{line}:{column}: {place}: the task has no score '{name}'; use {known} or "
            f"perplexity\n      {section}\n"
        )
    assert not (RUN / "recipe.yaml").exists()
    assert done("check", tiny(), "training.select.by=chrf", "training.patience={validations: 1, by: chrf}")
    assert done("check", tiny(), "training.select=best", "training.select={by: chrf}")
    assert done("check", tiny(), "training.select={by: chrf}", "training.select=last")
    message = refused("check", tiny(), "training.select=last", "training.select={by: chrf}")
    assert "training.select.type: Input should be 'best', found 'last'" in message
    message = refused("check", tiny(), f"training.select.by={name}")
    assert message.startswith(f"training.select.by={name}: the task has no score '{name}'")


@pytest.mark.parametrize(
    ("recipe", "known"),
    [
        ("language_model", ["bits_per_character", "word_perplexity", "token_perplexity", "perplexity"]),
        (RECIPE, ["bleu", "chrf", "perplexity"]),
        (PARSING, ["f1", "strict_f1", "tag_accuracy", "f1_len40", "valid", "perplexity"]),
    ],
)
def test_every_task_names_its_scores(recipe: str, known: list[str]) -> None:
    if "\n" in recipe:
        training = TINY[TINY.index("training:") :]
        recipe = str(tiny(f"{recipe}\n{training}"))
    text = "a line with words\n" * 20_000  # so much that no vocabulary is learned to check its size
    for split in ("train", "dev", "test"):  # those that the recipe of language models names
        Path(f"{split}.txt").write_text(text, encoding="utf-8")
    for name in known:
        assert done("check", recipe, f"training.select={{by: {name}}}")
    message = refused("check", recipe, "training.select={by: nothing}")
    assert "the task has no score 'nothing'; use " in message
    assert all(name in message for name in known)
