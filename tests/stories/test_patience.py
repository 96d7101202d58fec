"""Early stopping: the score that counts, and how the run goes on with more patience."""

from pathlib import Path

import pytest
import torch

from tests.models import PARSING, RECIPE
from tests.stories.scripted import scripted, strict
from tests.stories.tiny import TINY, done, lines, refused, seqx, tiny, weights

RUN = Path("runs/tiny")
STILL = "training.schedule.peak=1e-12"  # nothing is learnt, and perplexity does not change
EVERY = ("training.steps=12", "training.validate_every=2", "training.save_every=2")


def updates(run: Path = RUN) -> int:
    return int(lines(run, "update")[-1]["step"])


@pytest.mark.parametrize(
    ("values", "settings", "made"),
    [
        ([0], ["training.patience=2"], 12),  # perplexity falls
        ([0], ["training.patience=2", STILL], 6),
        ([0, 0, 0, 1, 1], ["training.patience=2"], 12),  # better than 0.00, then twice no better
        ([0, 0, 1, 1], ["training.patience=2"], 10),  # a tie above the minimum counts
        ([0.004, 0.003, 0.002, 0.001], ["training.patience=2"], 12),  # printed as 0.00
        ([0.04, 0.03, 0.02, 0.01], ["training.patience=2"], 6),
        ([5, 0, 0], ["training.patience=2"], 6),
        (["nan"], ["training.patience=2"], 12),
        (["nan", 1, "nan", "nan"], ["training.patience=2"], 8),
        ([1, 2, 3, 4, 5, 6], ["training.patience={validations: 2, by: perplexity}", STILL], 6),
        ([6, 5, 4, 3, 2, 1], ["training.patience={validations: 2, by: perplexity}"], 12),
        ([1, 2, 3, 4, 5, 6], ["training.patience={validations: 2, by: chrf}", STILL], 6),
        ([3, 2, 1, 0, 0, 0], ["training.patience={validations: 2, by: scripted}"], 6),
    ],
)
def test_patience_counts_validations_without_a_better_score(
    values: list[float], settings: list[str], made: int
) -> None:
    said = seqx("run", scripted(*values), *EVERY, *settings)
    assert said.exit_code == 0, said.output
    assert updates() == made
    assert ("stopped after" in said.stderr) == (made < 12)


@pytest.mark.parametrize(
    ("values", "made"), [([5, 4, 3, 2, 1, 0.5], 12), ([5, 5, 5], 6), (["inf"], 12), ([3, "inf", "inf"], 6)]
)
def test_patience_with_a_score_of_which_less_is_better(values: list[float], made: int) -> None:
    done("run", scripted(*values, lower_is_better=True), *EVERY, "training.patience=2")
    assert updates() == made


def test_patience_ends_if_perplexity_stays_infinite() -> None:
    how = ("training.schedule.peak=100", "training.schedule.warmup=1", "training.clip=null")
    by = "training.patience={validations: 2, by: perplexity}"
    said = seqx("run", tiny(TINY), *EVERY, *how, by)
    assert said.exit_code == 0, said.output
    assert {row["perplexity"] for row in lines(RUN, "evaluation") if row["split"] == "dev"} == {"Infinity"}
    assert "stopped after 6 of 12 updates: 2 validations without a better perplexity\n" in said.stderr
    for file in RUN.rglob("*.json"):
        strict(file)


def test_run_with_nan_scores_is_resumed() -> None:
    how = ("training.schedule.peak=100", "training.schedule.warmup=1")
    done("run", tiny(TINY), *how, "training.steps=4")
    printed = done("run", tiny(TINY), *how, "training.steps=6")
    assert "test bleu 0.00" in printed
    assert "| inf " in done("compare", RUN)
    scored = [row["perplexity"] for row in lines(RUN, "evaluation") if row["split"] == "dev"]
    assert scored == ["Infinity"] * len(scored)
    assert len(scored) > 2


def test_run_resumed_with_more_patience_equals_one_that_always_had_it() -> None:
    still = (*EVERY, STILL)
    done("run", scripted(5, 5, 5, 5, 5), *still, "training.patience=4", "--folder", "whole")
    assert updates(Path("whole")) == 10
    recipe = scripted(5, 5, 5, 5, 5)
    first = done("run", recipe, *still, "training.patience=2")
    assert updates() == 6
    # The same patience or less changes nothing.
    for patience in ("2", "1", "{validations: 2}"):
        again = done("run", recipe, *still, f"training.patience={patience}")
        assert again == f"{RUN}: this run is finished; its scores:\n{first}"
    assert "not finished" not in done("compare", RUN)

    said = seqx("run", recipe, *still, "training.patience=4")
    assert said.exit_code == 0, said.output
    assert "resumed from update 6" in said.stderr
    assert "stopped after 10 of 12 updates: 4 validations without a better score\n" in said.stderr
    one, other = (weights(folder / "checkpoints" / "00000010") for folder in (RUN, Path("whole")))
    assert all(torch.equal(one[name], tensor) for name, tensor in other.items())

    # With another score counting starts again, and without patience a run goes on to its end.
    done("run", recipe, *still, "training.patience={validations: 1, by: perplexity}")
    assert updates() == 12
    assert "this run is finished" in done("run", recipe, *still, "training.patience=null")


def test_run_resumed_without_patience_continues_to_its_last_update() -> None:
    recipe = scripted(5)
    done("run", recipe, *EVERY, "training.patience=1")
    assert updates() == 4
    # While it goes on, its former scores do not count.
    text = Path(RUN, "recipe.yaml").read_text("utf-8")
    Path(RUN, "recipe.yaml").write_text(text.replace("patience: 1", "patience: null"), "utf-8")
    assert "tiny: not finished" in done("compare", RUN)
    done("run", recipe, *EVERY, "training.patience=null")
    assert updates() == 12


@pytest.mark.parametrize(
    ("written", "place", "name", "given"),
    [
        ("select: {by: ruoge}", "training.select.by", "ruoge", "bleu, chrf"),
        ("patience: {validations: 2, by: bleu4}", "training.patience.by", "bleu4", "bleu, chrf"),
    ],
)
def test_an_unknown_score_is_reported_with_its_place(written: str, place: str, name: str, given: str) -> None:
    recipe = tiny(TINY.replace("  average: 2", f"  average: 2\n  {written}"))
    line = recipe.read_text("utf-8").splitlines().index(f"  {written}") + 1
    column = f"  {written}".index(name) + 1
    for command in (("check", recipe), ("run", recipe)):
        assert refused(*command).startswith(
            f"tiny.yaml:{line}:{column}: {place}: the task has no score '{name}'; use {given} or "
            f"perplexity\n      {written}\n"
        )
    assert not (RUN / "recipe.yaml").exists()
    assert done("check", tiny(), "training.select.by=chrf", "training.patience={validations: 1, by: chrf}")
    assert done("check", tiny(), "training.select=best", "training.select={by: chrf}")
    assert done("check", tiny(), "training.select={by: chrf}", "training.select=last")
    said = refused("check", tiny(), "training.select=last", "training.select={by: chrf}")
    assert "training.select.type: Input should be 'best', found 'last'" in said
    said = refused("check", tiny(), f"training.select.by={name}")
    assert said.startswith(f"command line:1:20: training.select.by: the task has no score '{name}'")


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
        training = TINY.removeprefix(RECIPE)
        recipe = str(tiny(f"{recipe}\n{training}"))
    for split in ("train", "dev", "test"):  # those that the recipe of language models names
        Path(f"{split}.txt").write_text("a line\n", encoding="utf-8")
    for name in known:
        assert done("check", recipe, f"training.select={{by: {name}}}")
    said = refused("check", recipe, "training.select={by: nothing}")
    assert "the task has no score 'nothing'; use " in said
    assert all(name in said for name in known)
